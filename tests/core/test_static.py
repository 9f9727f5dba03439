"mypy and pyright, with no plugin, refuse sizes that do not fit and say nothing of those that do; what they refuse is also refused when it runs"
import json, os, re, shutil, subprocess, sys
from pathlib import Path
import pytest

HERE = Path(__file__).parent/'static'
FILES = ('fits.py', 'does_not_fit.py')

def wrong_lines(name): return {i for i, line in enumerate((HERE/name).read_text().splitlines(), 1) if line.endswith('# wrong')}

def found_by(checker, folder, root):
    "{file: lines with an error}"
    env = {**os.environ, 'PYTHONPATH': str(root), 'MYPYPATH': str(root)}
    if checker == 'mypy':
        command = [sys.executable, '-m', 'mypy', '--cache-dir', str(folder/'cache'), '--follow-imports', 'silent', '--no-error-summary', *FILES]
        done = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True)
        rows = [(m[1], int(m[2])) for m in re.finditer(r'^([\w.]+):(\d+): error', done.stdout, re.M)]
    else:
        for name in FILES: shutil.copy(HERE/name, folder)
        (folder/'pyrightconfig.json').write_text(json.dumps(dict(include=list(FILES), extraPaths=[str(root)])))
        done = subprocess.run([sys.executable, '-m', 'pyright', '--outputjson', '-p', str(folder), '--pythonpath', sys.executable], cwd=folder, env=env, capture_output=True, text=True)
        rows = [(Path(o['file']).name, o['range']['start']['line'] + 1) for o in json.loads(done.stdout)['generalDiagnostics'] if o['severity'] == 'error']
    assert done.returncode == 1, done.stdout + done.stderr   # one file is wrong
    return {name: {n for f, n in rows if f == name} for name in FILES}

@pytest.mark.parametrize('checker', ['mypy', 'pyright'])
def test_a_checker_refuses_what_does_not_fit(checker, tmp_path, root):
    found = found_by(checker, tmp_path, root)
    assert found == {name: wrong_lines(name) for name in FILES}

def test_what_fits_runs_and_what_does_not_is_refused_when_composed():
    from upslope.core import ShapeError
    exec(compile((HERE/'fits.py').read_text(), 'fits.py', 'exec'), {})
    head, *lines = (HERE/'does_not_fit.py').read_text().split('\n\n')
    names = {}
    exec(head, names)
    for line in lines[0].splitlines():
        if not line.endswith('# wrong'): exec(line, names)
        elif not line.startswith('j'):       # an annotation alone is the checker's
            with pytest.raises(ShapeError): exec(line, names)

def test_brackets_are_held_to_what_is_made():
    from typing import Literal as L
    from upslope.core import ShapeError
    from upslope.layers import Dense
    with pytest.raises(ShapeError, match=r'gives another size than its brackets say'): Dense[L[784], L[128]](64).signature
    assert str(Dense[L[784], L[128]](128).signature) == '... 784 -> ... 128'
