"The README's lines do what they say"
import os, re, subprocess, sys

TRAINED = '''
weights = list(learn.model.parameters())
in_optimizer = {id(weight) for group in learn.opt.param_groups for weight in group['params']}
assert len(weights) == 6 and in_optimizer == set(map(id, weights)), 'the optimizer does not hold the weights of the model'
losses = [row[1] for row in learn.recorder.values]
assert losses[-1] < .8*losses[0], f'the Learner trains nothing: {losses}'
'''

def test_the_lines_of_the_readme_run(root, tmp_path):
    "All of them, with fewer seeds and epochs than there; the model of its study trains in its Learner too"
    code = '\n'.join(re.findall(r'```python\n(.*?)```', (root/'README.md').read_text(encoding='utf-8'), flags=re.S))
    for setting, value in dict(seeds=2, epochs=1).items():
        code, n = re.subn(rf'\b{setting}=\d+', f'{setting}={value}', code)
        assert n == 1, f'the README says {setting} {n} times'
    (tmp_path/'readme.py').write_text(code + TRAINED)
    env = {**os.environ, 'PYTHONPATH': str(root)}
    done = subprocess.run([sys.executable, 'readme.py'], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'seeds' in done.stdout and len(done.stdout.splitlines()) >= 2, done.stdout
    reports = list(tmp_path.rglob('*.html'))
    assert len(reports) == 1 and '<table' in reports[0].read_text(encoding='utf-8')

def test_the_readme_names_only_commands_and_files_that_exist(root):
    text, targets = (root/'README.md').read_text(encoding='utf-8'), (root/'Makefile').read_text(encoding='utf-8')
    named = set(re.findall(r'^make ([\w-]+)', text, flags=re.M))
    assert named and all(re.search(rf'^{target}:', targets, flags=re.M) for target in named)
    for link in re.findall(r'\]\((?!\w+:)([^)#]+)', text): assert (root/link).exists(), link

def test_a_newcomer_finds_the_main_job_the_tests_and_jupyter_each_with_its_time(root):
    text = (root/'README.md').read_text(encoding='utf-8')
    timed = re.findall(r'^make ([\w-]+) +#.* \d+ (?:seconds?|minutes?)\b', text, flags=re.M)
    assert timed == ['demo', 'lab', 'test']

def test_no_line_of_code_is_wider_than_the_page_of_the_site(root):
    code = '\n'.join(re.findall(r'```(?:python|sh)\n(.*?)```', (root/'README.md').read_text(encoding='utf-8'), flags=re.S))
    assert [line for line in code.splitlines() if len(line) > 80] == []
