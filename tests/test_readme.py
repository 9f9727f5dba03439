"The README's lines do what they say"
import os, re, subprocess, sys

def test_the_lines_of_the_readme_run(root, tmp_path):
    "All of them, with fewer seeds and epochs than there"
    code = '\n'.join(re.findall(r'```python\n(.*?)```', (root/'README.md').read_text(encoding='utf-8'), flags=re.S))
    for setting, value in dict(seeds=2, epochs=1).items():
        code, n = re.subn(rf'\b{setting}=\d+', f'{setting}={value}', code)
        assert n == 1, f'the README says {setting} {n} times'
    (tmp_path/'readme.py').write_text(code)
    done = subprocess.run([sys.executable, 'readme.py'], cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(root)}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'seeds' in done.stdout and len(done.stdout.splitlines()) >= 2, done.stdout
    reports = list(tmp_path.rglob('*.html'))
    assert len(reports) == 1 and '<table' in reports[0].read_text(encoding='utf-8')

def test_the_readme_names_only_commands_that_exist(root):
    text, targets = (root/'README.md').read_text(encoding='utf-8'), (root/'Makefile').read_text(encoding='utf-8')
    named = set(re.findall(r'^make ([\w-]+)', text, flags=re.M))
    assert 'demo' in named and all(re.search(rf'^{target}:', targets, flags=re.M) for target in named)
    for link in re.findall(r'\]\((?!\w+:)([^)#]+)', text): assert (root/link).exists(), link
