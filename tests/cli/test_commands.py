"""The commands as a user runs them: in this process, and each verb once in one of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import isoinit
from commands import runner
from ranks import own_lines

MODEL = '''
import torch
from torch import nn


def default():
    """Torch's own initialization: the signal dies."""
    layers = [x for _ in range(20) for x in (nn.Linear(32, 32), nn.ReLU())]
    return nn.Sequential(*layers), torch.randn(16, 32)


def healthy():
    import isoinit
    model, batch = default()
    isoinit.init(model, batch, seed=0)
    return model, batch


def alone():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


def forgets():
    model = nn.Linear(4, 4)
    model.scale = nn.Parameter(torch.ones(4))
    return model


def needs(argument):
    return argument


def number():
    return 3


class Unclear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, y):
        return self.layer(x) + y


def unclear():
    return Unclear()


class Small(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


ready = Small()


def refuses():
    return nn.Linear(4, 4), torch.zeros(2, 5)
'''

SLOW = """
import torch
from torch import nn


def slow():  # a hundredfold over seven layers: a warning, no error
    layers = [nn.Linear(32, 32, bias=False) for _ in range(7)]
    for layer in layers:
        layer.weight.data = torch.eye(32) / 100 ** (1 / 6)
    return nn.Sequential(*layers), torch.randn(16, 32)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models.py").write_text(MODEL)
    (tmp_path / "random.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    (tmp_path / "bits.json").write_bytes(b"\xff\xfe")
    return tmp_path


def run(folder, *arguments):
    """In a process of its own."""
    command = [str(Path(sys.executable).with_name("isoinit")), *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def status(folder, monkeypatch):
    return runner(folder, monkeypatch)


def test_plan(folder, status, capsys):
    table = run(folder, "plan", "models.py:default")
    assert table.returncode == 0
    assert "each unit has a mirror image" in " ".join(table.stdout.split())
    assert status("plan", "models.py:default", "--json", "--method", "sparse") == 0
    plan = isoinit.Plan.from_json(capsys.readouterr().out)
    assert isinstance(plan["0.weight"].initializer, isoinit.Sparse)


def test_only_some_parameters(folder, status, capsys):
    """Of a plan, and of a checkpoint, which holds the others as the model's function gives them."""
    only = ("--only", "0.*", "--only", "2.weight")
    assert status("plan", "models.py:default", "--json", *only) == 0
    plan = isoinit.Plan.from_json(capsys.readouterr().out)
    assert [e.name for e in plan if not e.kept] == ["0.weight", "0.bias", "2.weight"]
    assert status("init", "models.py:healthy", "-o", "c", "--only", "2.*") == 0
    assert status("init", "models.py:healthy", "-o", "d", "--only", "2.*", "--seed", "1") == 0
    one, two = (load_file(folder / name / "model.safetensors") for name in "cd")
    assert not torch.equal(one["2.weight"], two["2.weight"])
    assert torch.equal(one["0.weight"], two["0.weight"])
    assert status("plan", "models.py:default", "--only", "hed.*") == 2
    assert "no parameter matches 'hed.*'" in capsys.readouterr().err


def test_a_module_and_a_model_without_a_batch(status, capsys):
    assert status("plan", "models:alone") == 0
    assert "guess" not in capsys.readouterr().out  # an example was made for its first layer
    assert status("graph", "models:alone") == 0
    assert "→" in capsys.readouterr().out


def test_diff_answers_by_its_status(folder, status, capsys):
    model = torch.nn.Sequential(torch.nn.Linear(48, 4), torch.nn.ReLU())
    plan = isoinit.plan(model, torch.zeros(1, 48))
    plan.save(folder / "a.json")
    plan.save(folder / "b.json")
    plan["*.bias"] = isoinit.Ones()
    plan.save(folder / "c.json")
    assert status("diff", "a.json", "b.json") == 0
    assert "the same" in capsys.readouterr().out
    assert status("diff", "a.json", "c.json") == 1
    assert "0.bias     initializer  Zeros   Ones" in capsys.readouterr().out
    assert status("diff", "a.json", "c.json", "--json") == 1
    (row,) = json.loads(capsys.readouterr().out)["differences"]
    assert row["after"] == {"initializer": "Ones"}
    done = run(folder, "diff", "a.json", "c.json")
    assert (done.returncode, done.stderr) == (1, "")


def test_graph_as_text_and_json(status, capsys):
    assert status("graph", "models.py:default") == 0
    assert "input from" in capsys.readouterr().out
    assert status("graph", "models.py:default", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["format"] == "isoinit graph"
    first, second = data["layers"][:2]
    assert first["fed_by"][0]["sources"] == [{"kind": "input", "op": None, "layer": "input"}]
    assert second["fed_by"][0]["sources"][0]["op"] == first["op"]


def test_recipes(status, folder, capsys):
    assert status("plan", "models:alone", "--recipe", "own", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "own"
    assert found["parameters"]["0.weight"]["initializer"]["a"] == pytest.approx(-0.5)
    assert status("plan", "models:alone", "--recipe", "paper:resnet") == 2
    assert "no convolutions" in capsys.readouterr().err
    assert status("plan", "models:alone", "--recipe", "own", "--method", "he") == 2
    assert status("init", "models:alone", "--recipe", "own", "--out", "own") == 0
    assert load_file(folder / "own" / "model.safetensors")["0.weight"].abs().max() <= 0.5


def test_check_answers_by_its_status(status, capsys):
    assert status("check", "models.py:default") == 1
    assert "unhealthy" in capsys.readouterr().out
    assert status("check", "models.py:healthy", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_version(folder, status, capsys):
    assert status("--version") == 0
    assert capsys.readouterr().out == f"isoinit {isoinit.__version__}\n"


def test_a_plan_is_saved_and_used(folder, status, capsys):
    """`check` measures what a saved plan, or the options that make one, put into the model."""
    plan = ("plan", "models.py:default", "--method", "he", "--save", "he.json")
    assert status(*plan, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "he.json").read_text())
    torch.manual_seed(3)  # as the target is called
    layers = [x for _ in range(20) for x in (torch.nn.Linear(32, 32), torch.nn.ReLU())]
    model, batch = torch.nn.Sequential(*layers), torch.randn(16, 32)
    isoinit.Plan.load(folder / "he.json").apply(model, seed=3)
    rms = model[:-1](batch).square().mean().sqrt().item()
    found = []
    for options in (["--plan", "he.json"], ["--method", "he"]):
        assert status("check", "models.py:default", *options, "--seed", "3", "--json") == 0
        found.append(json.loads(capsys.readouterr().out)["layers"][-1]["rms"])
    assert found == pytest.approx([rms, rms], rel=1e-4)
    assert status("check", "models.py:default", "--recipe", "own") == 1
    assert status("check", "models.py:default", "--only", "*.weight") == 0
    assert status("init", "models.py:default", "-o", "c", "--plan", "he.json", "--seed", "3") == 0
    written = load_file(folder / "c" / "model.safetensors")
    assert all(torch.equal(written[name], t) for name, t in model.state_dict().items())


@pytest.mark.parametrize("option", ["--method", "--recipe", "--only"])
@pytest.mark.parametrize("command", ["check", "init"])
def test_a_saved_plan_and_another_one_are_refused(folder, status, capsys, command, option):
    isoinit.plan(torch.nn.Linear(2, 2)).save(folder / "p.json")
    value = {"--method": "he", "--recipe": "own", "--only": "*"}[option]
    more = ["-o", "c"] if command == "init" else []
    assert status(command, "models.py:default", *more, "--plan", "p.json", option, value) == 2
    error = capsys.readouterr().err
    assert f"--plan and {option} cannot be combined" in error
    assert f"isoinit plan TARGET {option} … --save FILE" in error


@pytest.mark.parametrize("target", ["models.py:Small", "models.py:ready"])
def test_classes_and_models_as_targets(folder, status, capsys, target):
    """A class is called, and a model is taken as it is."""
    assert status("plan", target, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["parameters"]) == {
        *("0.weight", "0.bias", "2.weight", "2.bias")
    }
    assert status("init", target, "-o", "c") == 0
    capsys.readouterr()
    assert status("check", target, "--json") in (0, 1)
    shown = capsys.readouterr()
    assert "gives no batch; check runs the model on random inputs (2×8)" in shown.err
    assert len(json.loads(shown.out)["layers"]) == 2
    arguments = ["--methods", "default,he", "--steps", "2", "--seeds", "1", "--json"]
    assert status("compare", target, *arguments) == 0


def test_a_model_is_compared_from_its_own_values(folder, status, capsys):
    """Each run trains a copy: the first run of a method is the same beside another and alone."""
    found = []
    for methods in ("default", "he,default"):
        arguments = ["--methods", methods, "--steps", "3", "--seeds", "1", "--json"]
        assert status("compare", "models.py:ready", *arguments) == 0
        found.append(json.loads(capsys.readouterr().out)["methods"][-1])
    assert found[0]["runs"][0]["losses"] == found[1]["runs"][0]["losses"]


def test_audit_answers_by_its_status(status, capsys):
    assert status("audit", "models:default") == 0  # a batch beside the model is left alone
    assert capsys.readouterr().out.startswith("nothing forgotten")
    assert status("audit", "models:forgets", "--json", "--seed", "3") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["where"] == ["scale"]
    assert status("audit", "models:forgets") == 1
    assert "never written" in capsys.readouterr().out


def test_pages_are_written_beside_what_is_printed(folder, status, capsys):
    assert status("plan", "models:alone", "--html", "plan.html", "--json") == 0
    assert "isoinit plan" in json.loads(capsys.readouterr().out).values()
    assert status("check", "models.py:default", "--html", "check.html") == 1
    assert capsys.readouterr().out.startswith("unhealthy")
    assert status("audit", "models:forgets", "--html", "audit.html", "--json") == 1
    assert not json.loads(capsys.readouterr().out)["ok"]
    for name in ("plan", "check", "audit"):
        assert (folder / f"{name}.html").read_text().startswith("<!doctype html>")
    assert status("plan", "models:alone", "--html", "none/plan.html") == 2
    assert "no folder" in capsys.readouterr().err


def test_annotations_and_strictness(folder, status, capsys):
    assert status("check", "models.py:default", "--github") == 1
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("::")]
    assert any(x.startswith("::error title=isoinit%3A vanishing") for x in lines)
    (folder / "slow.py").write_text(SLOW)
    assert status("check", "slow.py:slow") == 0
    assert status("check", "slow.py:slow", "--strict") == 1
    assert status("check", "models.py:healthy", "--github", "--strict") == 0


def test_init_writes_what_apply_would(folder, status, capsys):
    assert status("init", "models.py:default", "-o", "c", "--seed", "3", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["directory"], told["tensors"], told["ok"]) == ("c", 40, None)
    layers = [x for _ in range(20) for x in (torch.nn.Linear(32, 32), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers)
    isoinit.init(model, torch.randn(16, 32), seed=3)
    written = load_file(folder / "c" / "model.safetensors")
    assert written.keys() == model.state_dict().keys()
    assert all(torch.equal(written[name], t) for name, t in model.state_dict().items())
    assert sorted(p.name for p in (folder / "c").iterdir()) == sorted(told["files"])
    assert sorted(p.name for p in folder.iterdir() if "safetensors" in p.name) == []


def test_init_checks_where_it_is_asked_to(status, capsys):
    assert status("init", "models:default", "-o", "c", "--check", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert status("init", "models:default", "-o", "z", "--check", "--method", "zero") == 1
    assert status("init", "models:default", "-o", "z", "--method", "zero") == 0
    assert "so nothing was written" in capsys.readouterr().out
    assert status("init", "models:default", "-o", "z", "--seed", "1") == 2
    refusal = capsys.readouterr().err
    assert "z holds another checkpoint" in refusal
    assert "or pass seed=0 to continue it" in refusal


def test_verify_answers_by_its_status(folder, status, capsys):
    assert status("init", "models:default", "-o", "c", "--format", "dcp", "--seed", "2") == 0
    assert status("verify", "c") == 0
    assert "bit for bit" in capsys.readouterr().out
    assert status("verify", "c", "--seed", "3", "--json") == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["where"] == ["0.weight"]
    assert status("verify", "c", "--seed", "3") == 1
    told = capsys.readouterr().out
    assert "error: 0…38.weight (20), such as '0.weight' at [0, 0] is" in told
    assert "list every finding" in told
    assert len(told.splitlines()) == 3
    assert status("verify", "c", "--seed", "3", "--verbose") == 1
    assert len(capsys.readouterr().out.splitlines()) == 21
    assert status("verify", "c", "--plan", "c/isoinit_plan.json", "--github", "--strict") == 0


def test_init_under_a_launcher(folder):
    """As torchrun starts it: two processes share the work, and the first one says so."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [
        str(Path(sys.executable).with_name("isoinit")),
        "init",
        "models.py:default",
        "-o",
        "c",
    ]
    command += ["--max-shard-size", "20KB"]
    launched = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(
            command,
            cwd=folder,
            env={**launched, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [own_lines(process.communicate(timeout=120)[0]) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0]
    assert told[0].startswith("c: 40 tensors")
    assert told[1] == ""
    assert isoinit.verify_checkpoint(folder / "c").ok


WRONG = [
    (["plan", "models.py"], "expected package.module:function or path/to/file.py:function"),
    (["plan", "none.py:f"], "there is no file none.py"),
    (["plan", "broken.py:f"], "nothing_of_this_name"),
    (["plan", "no_such_package:f"], "importing no_such_package failed: ModuleNotFoundError"),
    (["plan", "models.py:missing"], "has no function, class or model called 'missing'"),
    (["plan", "models.py:defualt"], "called 'defualt'. Did you mean 'default'?"),
    (["plan", "model.py:default"], "there is no file model.py. Did you mean 'models.py'"),
    (["plan", "models.py:default", "--method", "ortogonal"], "Did you mean 'orthogonal'?"),
    (["plan", "models.py:default", "--recipe", "paper:lama"], "Did you mean 'paper:llama'"),
    (["plan", "models.py:default", "--only", "0.wieght"], "Did you mean '0.weight'"),
    (["plan", "models.py:default", "--save", "no/plan.json"], "there is no folder no"),
    (["explain", "models.py:default", "38.wight"], "Did you mean '38.weight'"),
    (["check", "models.py:default", "--plan", "bits.jsn"], "Did you mean 'bits.json'? See"),
    (["plan", "models.py:needs"], "Expected a function without arguments"),
    (["plan", "models.py:number"], "returned a int; expected a torch.nn.Module"),
    (["plan", "models.py:refuses"], "forward failed on the example"),
    (["plan", "models.py:default", "--method", "best"], "expected one of auto"),
    (["plan", "models.py:default", "--seed", "x"], "Invalid value for '--seed'"),
    (["plan"], "Missing argument"),
    (["check", "models.py:unclear"], "gives a model without a batch, and check runs the model: no"),
    (["audit", "models.py:missing"], "has no function, class or model called 'missing'"),
    (["audit", "models.py:ready"], "is a model, and audit makes models itself"),
    (["coordinates", "models.py:ready"], "is a model, and this command makes models itself"),
    (["rules", "--json", "--markdown"], "choose one of them"),
    (["audit", "models.py:needs"], "Expected a function without arguments"),
    (["audit", "models.py:number"], "returned a int; expected a torch.nn.Module"),
    (["check", "models.py:default", "--json", "--github"], "choose one of them"),
    (["init", "models.py:default"], "Missing option"),
    (["init", "models.py:default", "-o", "no/such/folder"], "does not exist"),
    (["init", "models.py:default", "-o", "w.safetensors"], "name of a file; expected a folder"),
    (["init", "models.py:default", "-o", "bits.json"], "is a file; expected a folder"),
    (
        ["init", "models.py:default", "-o", "c", "--format", "pt"],
        "expected one of safetensors, dcp",
    ),
    (["init", "models.py:default", "-o", "c", "--max-shard-size", "big"], "max_shard_size='big'"),
    (
        ["init", "models.py:unclear", "-o", "c", "--check"],
        "Give a function that returns (model, batch)",
    ),
    (["verify", "none"], "is not a folder"),
    (["verify", "."], "Pass the plan"),
    (["verify", ".", "--plan", "bits.json"], "can't decode"),
    (["diff", "models.py"], "Missing argument"),
    (["diff", "none.json", "none.json"], "does not exist"),
    (["diff", "bit.json", "models.py"], "does not exist. Did you mean 'bits.json'?"),
    (["diff", ".", "models.py"], "is a directory"),
    (["diff", "models.py", "models.py"], "models.py: the plan is not valid JSON"),
    (["diff", "bits.json", "models.py"], "bits.json: 'utf-8' codec can't decode"),
    (["fly"], "No such command"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_wrong_use_exits_with_two_and_says_what_to_do(folder, status, capfd, arguments, words):
    assert status(*arguments) == 2
    error = capfd.readouterr().err
    assert words in " ".join(error.replace("│", " ").split())
    assert "Traceback" not in error
    assert not list(Path(folder).rglob("*.safetensors"))


@pytest.mark.parametrize("command", ["demo", "plan", "check", "audit", "init", "verify"])
def test_every_command_has_seed_json_and_help(status, capsys, command):
    assert status(command, "--help") == 0
    text = capsys.readouterr().out
    assert "--seed" in text
    assert "--json" in text


def test_explain(status, capsys):
    assert status("explain", "models.py:default", "2.weight") == 0
    assert "by rule" in capsys.readouterr().out
    assert status("explain", "models.py:default", "nothing") == 2
    assert "nothing" in capsys.readouterr().err


def test_the_command_line_starts_without_a_framework():
    heavy = ["torch", "jax", "numba", "numpy"]
    code = f"import sys, isoinit.cli; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_rules(status, capsys):
    assert status("rules") == 0
    table = capsys.readouterr().out
    assert max(map(len, table.splitlines())) <= 80
    assert "Var = 1/(E[x²] fan_in)" in table
    assert status("rules", "--markdown") == 0
    assert "| LayerScale |" in capsys.readouterr().out
    assert status("rules", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert {"name", "when", "formula", "reason", "source"} == set(data[0])


def test_verbose_folds_nothing(status, capsys):
    folded = []
    for words in (("plan",), ("plan", "--verbose"), ("check",), ("check", "--verbose")):
        assert status(words[0], "models.py:healthy", *words[1:]) == 0
        folded.append(" 0…38" in capsys.readouterr().out)
    assert folded == [True, False, True, False]
