"The Makefile sets up `.venv` when it must, says in words when it cannot, and trusts no installation that was interrupted"
import os, shutil, signal, subprocess, time
import pytest

pytestmark = pytest.mark.skipif(not shutil.which('make'), reason='make is not installed')

# A Python that makes an environment and installs into it at once, or as slowly and as badly as a test asks. It notes what it did in `log`.
PYTHON = '''#!/bin/sh
case "$*" in
  "-c "*version_info*) test ! -e too-old ;;
  "-c "*ensurepip*)    test ! -e no-venv ;;
  "-c"*)               exit 0 ;;
  -V)                  echo "Python 3.8.1" ;;
  "-m venv"*)          echo venv >> log; rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; test ! -e slow-venv || sleep 900; cp "$0" .venv/bin/pip ;;
  "-m pip"*)           echo "pip $*" >> log; test ! -e slow || { touch started; sleep 900; }; test ! -e offline ;;
  *)                   echo "ran $*" >> log ;;
esac
'''

@pytest.fixture
def tree(tmp_path, root):
    for name in ('Makefile', 'settings.ini'): shutil.copy(root/name, tmp_path)
    (tmp_path/'python').write_text(PYTHON)
    (tmp_path/'python').chmod(0o755)
    return tmp_path

ENV = {name: value for name, value in os.environ.items() if name not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'ROOM')}   # when `make test` calls us

def make(tree, *args): return subprocess.run(['make', *args, 'PYTHON=./python'], cwd=tree, env=ENV, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)

def done(tree):
    "What was done since the last call"
    log = tree/'log'
    found = [line.replace('-m pip install --disable-pip-version-check ', '') for line in log.read_text().splitlines()] if log.exists() else []
    log.unlink(missing_ok=True)
    return found

def heeds_interrupts(): signal.signal(signal.SIGINT, signal.SIG_DFL)   # a shell that runs us in the background has it ignored, and children inherit that

def newer(path):
    later = time.time() + 5
    os.utime(path, (later, later))

def test_demo_installs_once_and_again_when_settings_changed(tree):
    assert make(tree, 'demo').returncode == 0 and done(tree) == ['venv', 'pip -e .', 'ran -m upslope demo']
    assert make(tree, 'demo').returncode == 0 and done(tree) == ['ran -m upslope demo']
    newer(tree/'settings.ini')
    assert make(tree, 'demo').returncode == 0 and done(tree) == ['pip -e .', 'ran -m upslope demo']

def test_an_environment_for_development_serves_the_demo(tree):
    assert make(tree, 'export').returncode == 0 and done(tree) == ['venv', 'pip -e .[dev]', 'ran tools/project.py sync']
    assert make(tree, 'demo').returncode == 0 and done(tree) == ['ran -m upslope demo']
    shutil.rmtree(tree/'.venv')
    make(tree, 'demo'); done(tree)
    assert make(tree, 'export').returncode == 0 and done(tree) == ['pip -e .[dev]', 'ran tools/project.py sync']

def test_a_failed_installation_is_done_again(tree):
    (tree/'offline').touch()
    assert make(tree, 'demo').returncode != 0 and done(tree) == ['venv', 'pip -e .']
    (tree/'offline').unlink()
    assert make(tree, 'demo').returncode == 0 and done(tree) == ['pip -e .', 'ran -m upslope demo']

def test_a_failed_update_leaves_no_old_stamp(tree):
    make(tree, 'demo')
    newer(tree/'settings.ini')
    (tree/'offline').touch()
    assert make(tree, 'demo').returncode != 0
    os.utime(tree/'settings.ini', (1, 1))   # put back, as `git stash` might
    (tree/'offline').unlink()
    done(tree)
    assert make(tree, 'demo').returncode == 0 and done(tree) == ['pip -e .', 'ran -m upslope demo']

@pytest.mark.parametrize('moment, again', [('slow', ['pip -e .', 'ran -m upslope demo']), ('slow-venv', ['venv', 'pip -e .', 'ran -m upslope demo'])])
@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_installation_is_done_again(tree, moment, again, how):
    (tree/moment).touch()
    process = subprocess.Popen(['make', 'demo', 'PYTHON=./python'], cwd=tree, env=ENV, start_new_session=True, preexec_fn=heeds_interrupts, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.time() + 300
    while not (tree/('started' if moment == 'slow' else '.venv/bin/python')).exists():
        assert time.time() < until, 'the installation did not start'
        time.sleep(.02)
    os.killpg(process.pid, how)
    process.wait()
    (tree/moment).unlink()
    done(tree)
    assert make(tree, 'demo').returncode == 0 and done(tree) == again

@pytest.mark.parametrize('file, words', [('too-old', 'needs Python 3.10 or newer; \'./python\' is Python 3.8.1'), ('no-venv', 'apt install python3-venv')])
def test_a_python_that_cannot_serve_is_named_in_words(tree, file, words):
    (tree/file).touch()
    made = make(tree, 'demo')
    assert made.returncode != 0 and words in made.stdout and done(tree) == []

def test_a_missing_python_is_named_in_words(tree):
    (tree/'python').unlink()
    made = make(tree, 'demo')
    assert made.returncode != 0 and "'./python' does not start here" in made.stdout

def test_lab_starts_for_root_only_if_told_to(tree):
    "Whoever runs this test: `id` says who"
    make(tree, 'export'); done(tree)
    for name, text in {'.venv/bin/jupyter': 'echo "jupyter $*" >> log', 'id': 'cat user'}.items():
        (tree/name).write_text(f'#!/bin/sh\n{text}\n')
        (tree/name).chmod(0o755)
    def lab(user, *args):
        (tree/'user').write_text(f'{user}\n')
        made = subprocess.run(['make', 'lab', *args, 'PYTHON=./python'], cwd=tree, env={**ENV, 'PATH': f"{tree}{os.pathsep}{ENV['PATH']}"}, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
        return made.returncode, made.stdout, done(tree)
    start = 'jupyter lab --notebook-dir=nbs {}nbs/90-stories/01_ten_minutes.ipynb'
    assert lab(1000)[::2] == (0, [start.format('')]) and lab(1000, 'LAB=--port=9999')[::2] == (0, [start.format('--port=9999 ')])
    code, said, log = lab(0)
    assert code != 0 and log == [] and 'make lab LAB=--allow-root' in said
    assert lab(0, 'LAB=--no-browser --allow-root')[::2] == (0, [start.format('--no-browser --allow-root ')])

CHECK = 'ran tools/project.py check'
def nbdev_test(*folders): return ' '.join(['ran tests/warm_workers.py .venv/bin/nbdev-test', *folders, '--n-workers 3'])
def pytest_of(*folders): return ' '.join(['ran -m pytest -q -ra -n 3 --dist loadgroup', *folders])
ROOMS = {   # what is asked for -> what is run
    '': [CHECK, nbdev_test(), pytest_of()],
    'lab': [CHECK, nbdev_test('nbs/06-lab'), pytest_of('tests/lab')],
    'across': [CHECK, pytest_of('tests/across')],
    'stories': [CHECK, nbdev_test('nbs/90-stories')],
    'labs': []}

@pytest.mark.parametrize('room', ROOMS)
def test_a_room_has_its_notebooks_and_its_tests_run_and_no_other(tree, room):
    for folder in ('nbs/06-lab', 'nbs/90-stories', 'tests/lab', 'tests/across'): (tree/folder).mkdir(parents=True)
    make(tree, 'export'); done(tree)
    made = make(tree, 'test', 'CORES=3', *([f'ROOM={room}'] if room else []))
    assert done(tree) == ROOMS[room] and (made.returncode == 0) == bool(ROOMS[room])
    assert made.returncode == 0 or "There is no room 'labs'" in made.stdout

def test_help_names_every_target_and_changes_nothing(tree):
    shown = make(tree).stdout
    targets = next(line for line in (tree/'Makefile').read_text().splitlines() if line.startswith('.PHONY:')).split()[1:]
    assert [line.split()[1] for line in shown.splitlines()] == [target for target in targets if target != 'help'] and done(tree) == []
