"""Which parameters a checkpoint has: files of others, read with care."""

import json
import os
import sys

import pytest
import torch
from safetensors.torch import save_file

from damage import damaged
from isoinit._writing.stored import stored
from isoinit.errors import PlanError

STATE = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
SHAPES = {"a": (2, 3), "b": (4,)}


def indexed(folder, places):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": places}))
    return path


def test_the_cache_of_hugging_face_is_read_through_its_links(tmp_path):
    """Its snapshots hold links to ../../blobs."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, tensor in STATE.items():
        save_file({name: tensor}, blobs / name)
        (snapshot / f"{name}.safetensors").symlink_to(f"../../blobs/{name}")
    indexed(blobs, {name: f"{name}.safetensors" for name in STATE}).rename(blobs / "index")
    (snapshot / "model.safetensors.index.json").symlink_to("../../blobs/index")
    assert stored(snapshot).shapes == SHAPES


def test_an_index_that_leads_elsewhere_or_to_itself(tmp_path):
    (tmp_path / "inner").mkdir()
    save_file(STATE, tmp_path / "x.safetensors")
    for place, words in (
        ("../x.safetensors", "the name of a file in the same folder"),
        (str(tmp_path / "x.safetensors"), "the name of a file in the same folder"),
        ("model.safetensors.index.json", "expected a state dict"),
        ("none.safetensors", "No such file"),
    ):
        indexed(tmp_path / "inner", {"a": place})
        with pytest.raises(PlanError, match=words):
            stored(tmp_path / "inner")


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes with names")
@pytest.mark.parametrize("name", ["x.safetensors", "x.bin", "x.safetensors.index.json"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(PlanError, match="it is a named pipe, expected a file"):
        stored(tmp_path / name)


def test_damaged_files_are_one_error(tmp_path):
    path, refused = tmp_path / "x.safetensors", 0
    for data in damaged(200):
        path.write_bytes(data)
        try:
            stored(path)
        except PlanError:
            refused += 1
    assert 100 < refused < 200
