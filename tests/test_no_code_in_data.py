"""Data is never run: no pickle, eval, exec, marshal or shell anywhere in the package."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "presence_t5x"
MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "pickle.loads",
    "torch.load",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "builtins.eval",
    "builtins.exec",
}
ALLOW_PICKLE = {"load", "save", "savez", "savez_compressed"}  # of NumPy
# Names of modules come from a command line or from this package, never from data.
IMPORTERS = {"convert/logits.py", "data/task_source.py", "command_line.py", "optional_modules.py"}


def findings(source):
    """What of a program would run data: (line, what)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, a.name) for a in node.names if _top(a.name) in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, n) for n in names if _top(n) in MODULES or n in CALLS]
        elif isinstance(node, ast.Call):
            found += [(node.lineno, what) for what in _of_call(node)]
        elif isinstance(node, ast.Name) and node.id in BUILTINS - {"compile"}:
            found.append((node.lineno, node.id))  # also as a value: map(eval, lines)
    return found


def _top(name):
    return name.split(".")[0]


def _of_call(node):
    name = ast.unparse(node.func)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in BUILTINS or name in CALLS:
        yield name
    if keywords.get("shell", "False") != "False":
        yield f"{name}(shell={keywords['shell']})"
    is_numpy = name.split(".")[0] in ("np", "numpy", "onp") and name.split(".")[-1] in ALLOW_PICKLE
    if is_numpy and keywords.get("allow_pickle") != "False":
        yield f"{name} without allow_pickle=False"
    if keywords.get("allow_pickle", "False") != "False":
        yield f"{name}(allow_pickle={keywords['allow_pickle']})"
    if keywords.get("trust_remote_code", "False") != "False":
        yield f"{name}(trust_remote_code={keywords['trust_remote_code']})"
    is_fixed = bool(node.args) and isinstance(node.args[0], ast.Constant)
    if name.split(".")[-1] in ("import_module", "run_path", "run_module") and not is_fixed:
        yield name


def package_files():
    return sorted(PACKAGE.rglob("*.py"))


def test_nothing_runs_data():
    wrong, importers = [], set()
    for path in package_files():
        name = str(path.relative_to(PACKAGE))
        for line, what in findings(path.read_text(encoding="utf-8")):
            if what.endswith("import_module"):
                importers.add(name)
            else:
                wrong.append(f"{name}:{line}: {what}")
    assert not wrong, "\n".join(wrong)
    assert importers == IMPORTERS


def test_the_whole_package_is_looked_at():
    names = {path.name for path in package_files()}
    assert {"train.py", "token_store.py", "huggingface_files.py", "execution.py"} <= names
    assert len(names) > 150


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "from cloudpickle import load as read",
        "import marshal",
        "x = eval(text)",
        "list(map(eval, lines))",
        "exec(text)",
        "import builtins; builtins.exec(text)",
        "code = compile(text, 'x', 'exec')",
        "import os; os.system(command)",
        "from os import system",
        "subprocess.run(command, shell=True)",
        "subprocess.Popen(command, shell=flag)",
        "yaml.load(text)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.save(path, array)",
        "torch.load(path)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "importlib.import_module(name)",
        "__import__(name)",
    ],
)
def test_the_check_can_fail(source):
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run(['git', 'status'], check=True)",
        "np.load(path, mmap_mode='r', allow_pickle=False)",
        "model.eval()",
        "re.compile('a')",
        "jax.jit(f).lower(x).compile()",
        "yaml.safe_load(text)",
        "importlib.import_module('torch')",
    ],
)
def test_what_is_harmless_passes(source):
    assert not findings(source)
