"What several tests look at is made once in a run of the tests, however many processes share the run"
import shutil, subprocess, sys

GROUP = '''import os, pytest
pytestmark = pytest.mark.xdist_group('one')
@pytest.fixture(scope='module')
def made():
    with open('log', 'a') as log: log.write(f'{os.getpid()}\\n')
@pytest.mark.parametrize('number', range(12))
def test_it(made, number): "It is there"
'''
ALONE = '''import os, pytest, time
@pytest.mark.parametrize('number', range(12))
def test_it(number):
    time.sleep(.05)
    with open('others', 'a') as log: log.write(f'{os.getpid()}\\n')
'''

def test_a_group_of_tests_goes_to_one_process(root, tmp_path):
    "As `make test` calls pytest; other tests go to both processes"
    for name in ('conftest.py', 'warm_workers.py'): shutil.copy(root/'tests'/name, tmp_path)
    shutil.copytree(root/'tests/warm', tmp_path/'warm', ignore=shutil.ignore_patterns('__pycache__'))
    (tmp_path/'test_group.py').write_text(GROUP)
    (tmp_path/'test_alone.py').write_text(ALONE)
    command = [sys.executable, '-m', 'pytest', '-q', '-n', '2', '--dist', 'loadgroup', '-p', 'no:cacheprovider', '--rootdir', tmp_path, tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert '24 passed' in done.stdout, done.stdout + done.stderr
    assert len((tmp_path/'log').read_text().splitlines()) == 1
    assert len(set((tmp_path/'others').read_text().splitlines())) == 2
