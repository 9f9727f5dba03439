"Ends at random moments, of a worker, a group, a study, a queue, a merge, a migration and of each that writes a file; `python tests/lab/kills.py 500` is the same at full length, `kills.py 50 each` gives each scene as many"
import subprocess, sys
from pathlib import Path

def test_kills():
    "In a process of its own: it forks, which a process with threads should not"
    said = subprocess.run([sys.executable, str(Path(__file__).with_name('kills.py')), '40'], capture_output=True, text=True, timeout=900)
    assert said.returncode == 0, said.stdout + said.stderr
    print(said.stdout)
    kills = int(said.stdout.split()[0])
    assert kills >= 40, said.stdout   # else it proves nothing
