"The cases of distributed fits, in a process of their own: a process in which another test has started autograd's threads cannot be copied"
import subprocess, sys
from pathlib import Path

def test_distributed_cases():
    cases = Path(__file__).with_name('distributed_cases.py')
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', str(cases)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 and ' passed' in done.stdout, done.stdout + done.stderr
