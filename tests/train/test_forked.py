"Cases that copy their process, in a process of their own: one in which another test has started autograd's threads cannot be copied"
import subprocess, sys
from pathlib import Path

import pytest

@pytest.mark.parametrize('name', ['distributed', 'trackers'])
def test_cases(name):
    cases = Path(__file__).with_name(f'{name}_cases.py')
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', str(cases)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 and ' passed' in done.stdout, done.stdout + done.stderr
