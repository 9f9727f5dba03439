"`upslope study --recipe` finds the functions of the user's project, where the user stands and where the recipe lies, and imports nothing else"
import os, subprocess, sys
import pytest

MODELS = '''
from pathlib import Path
Path(__file__).with_name('was_imported').touch()
def small(width=4):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
'''
NOT_THERE = 'DataError: A recipe names a function that is not there.'

@pytest.fixture
def place(tmp_path):
    "A command as pip installs it, in a folder of its own, a project whose recipe names a function of its package, and a memory of trust"
    (tmp_path/'bin').mkdir()
    (tmp_path/'bin'/'upslope').write_text('import sys\nfrom upslope.surface.cli import main\nif __name__ == "__main__": sys.exit(main())\n')
    make_project(tmp_path/'project')
    return tmp_path

def make_project(folder):
    (folder/'mylib').mkdir(parents=True)
    (folder/'mylib'/'__init__.py').touch()
    (folder/'mylib'/'models.py').write_text(MODELS)

def environment(place, user='me'): return {**os.environ, 'XDG_STATE_HOME': str(place/f'state of {user}'), 'UPSLOPE_KNOWN': ''}

def declare(place, folder, user='me'):
    "The user writes down the recipe in the project's folder"
    text = "from mylib.models import small\nfrom upslope.lab import Recipe\nRecipe('digits', small, epochs=1).save('r.toml')"
    subprocess.run([sys.executable, '-c', text], cwd=folder, env=environment(place, user), check=True)
    (folder/'mylib'/'was_imported').unlink()

def upslope(place, cwd, *args, user='me'):
    "(exit code, all that is said)"
    cwd.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, str(place/'bin'/'upslope'), *args], cwd=cwd, env=environment(place, user), capture_output=True, text=True, timeout=300)
    assert 'Traceback' not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr

def study(place, cwd, recipe, *more, store='s.db', user='me'):
    "Whether the study was run, and what was said"
    code, said = upslope(place, cwd, 'study', store, 'one', '--recipe', recipe, '--seeds', '1', '--workers', '1', *more, user=user)
    return code == 0, said

@pytest.mark.parametrize('cwd,recipe', [('project', 'r.toml'), ('elsewhere', '../project/r.toml')])
def test_where_the_user_stands_and_where_the_recipe_lies(place, cwd, recipe):
    declare(place, place/'project')
    done, said = study(place, place/cwd, recipe)
    assert done, said
    assert 'small' in said and (place/'project'/'mylib'/'was_imported').exists()

def test_a_module_that_is_nowhere_is_told_in_words(place):
    declare(place, place/'project')
    (place/'project'/'mylib').rename(place/'project'/'renamed')
    done, said = study(place, place/'elsewhere', '../project/r.toml')
    assert not done and NOT_THERE in said and 'fix:' in said

def test_a_folder_of_somebody_else_with_the_same_names_is_not_imported(place):
    "That the user knows `mylib.models:small` says nothing of another `mylib`"
    declare(place, place/'project')
    make_project(place/'theirs')
    (place/'project'/'r.toml').rename(place/'theirs'/'r.toml')
    done, said = study(place, place/'elsewhere', '../theirs/r.toml')
    assert not done and NOT_THERE in said
    assert not (place/'theirs'/'mylib'/'was_imported').exists()

def test_who_trusts_it_runs_it(place):
    declare(place, place/'project', user='them')
    done, said = study(place, place/'elsewhere', '../project/r.toml')
    assert not done and 'came from elsewhere' in said
    assert not (place/'project'/'mylib'/'was_imported').exists()
    done, said = study(place, place/'elsewhere', '../project/r.toml', '--trust')
    assert done, said
    done, said = study(place, place/'third', '../project/r.toml', store='t.db')   # once is enough
    assert done, said

def test_to_trust_by_the_command_of_that_name(place):
    declare(place, place/'project', user='them')
    code, said = upslope(place, place/'elsewhere', 'trust', '../project/r.toml')
    assert code == 1 and 'from mylib.models import small' in said
    assert not (place/'project'/'mylib'/'was_imported').exists()
    code, said = upslope(place, place/'elsewhere', 'trust', '../project/r.toml', '--yes')
    assert code == 0, said
    done, said = study(place, place/'elsewhere', '../project/r.toml')
    assert done, said

def test_reading_imports_nothing(place):
    "Neither the project's module, nor a file that has the name of a package"
    declare(place, place/'project')
    done, said = study(place, place/'project', 'r.toml')
    assert done, said
    (place/'project'/'mylib'/'was_imported').unlink()
    for name in ('json', 'numpy', 'pandas', 'torch'): (place/'project'/f'{name}.py').write_text('raise SystemExit("this is not the package")')
    for command in (['study', 's.db'], ['report', 's.db'], ['runs', 's.db'], ['runs', 's.db', '--run', '1'], ['queue', 's.db'], ['store', 'check', 's.db']):
        code, said = upslope(place, place/'project', *command)
        assert code == 0, said
    assert not (place/'project'/'mylib'/'was_imported').exists()
