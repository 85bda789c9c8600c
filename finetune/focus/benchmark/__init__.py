"""The comparison of focus methods: `luxvox benchmark ... --tasks focus`."""
