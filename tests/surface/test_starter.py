"A new project is whole or not there, and its files say what its maker said"
import configparser, json, os, random, re, signal, subprocess, sys, time
from importlib.metadata import packages_distributions
from pathlib import Path
import pytest, yaml
from hypothesis import given, settings, strategies as st
from markdown_it import MarkdownIt
from upslope.core.errors import ArgumentError
from upslope.surface.starter import as_line, check_name, new_project, project_files, sweep
import odd_values
try: import tomllib
except ModuleNotFoundError: import tomli as tomllib   # Python 3.10

def shown(markdown):
    "The text that a reader of `markdown` sees, block by block"
    blocks = [t for t in MarkdownIt('commonmark').parse(markdown) if t.type == 'inline']
    return [''.join(c.content for c in b.children if c.type in ('text', 'text_special')) for b in blocks if all(c.type in ('text', 'text_special') for c in b.children)]

TEXTS = st.text(st.one_of(st.characters(exclude_categories=('Cc', 'Cs')), st.sampled_from('"\\\'\n\r\t%{}$#`*_[]<>&|~!-+=:;,. 1\u2028\u00a0é☃🂡')), max_size=40)
HARD = ['say "why" \\ 100 % [x](y) <b> & $a$ `c` *d* _e_', '"""', "'''", '\\', '"', '%(name)s %', '1. first', '- a', '# b', '=', '+ c', '> d', 'NAME USER DESCRIPTION', 'a\nb', '\\N{DEGREE SIGN} \\u0041', '{{x}} {% y %}', '---', 'yes', 'null', '12', '&amp;', '~~~', '  ', '![a](b)', 'http://a.b/c', 'a: b # c']

def check_files(description, user):
    line = as_line(description)
    files = project_files('widths', line, user)
    project = tomllib.loads(files['pyproject.toml'])['project']
    assert project['description'] == line and project['urls']['Repository'] == f'https://github.com/{user}/widths'
    assert yaml.safe_load(files['CITATION.cff'])['abstract'] == line
    yaml.safe_load(files['.github/workflows/test.yaml'])
    assert line in shown(files['README.md']) or not line
    for path, text in files.items():
        if not path.endswith('.ipynb'): continue
        for cell in json.loads(text)['cells']:
            if cell['cell_type'] == 'code': compile(''.join(cell['source']), path, 'exec')
    first = ''.join(json.loads(files['nbs/index.ipynb'])['cells'][0]['source'])
    assert first.splitlines()[0] == '# widths' and (line in shown(first) or not line)

@settings(max_examples=300)
@given(TEXTS, st.from_regex(r'\A[A-Za-z0-9][A-Za-z0-9-]{0,20}\Z'))
def test_every_file_gives_the_text_back(description, user): check_files(description, user)

@pytest.mark.parametrize('description', HARD)
def test_hard_texts(description): check_files(description, 'USER')

@settings(max_examples=200)
@given(st.sampled_from(['name', 'folder', 'description', 'user']), odd_values.junk())
def test_one_argument_spoiled(tmp_path_factory, name, drawn):
    folder = tmp_path_factory.mktemp('new')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        odd_values.outcome(lambda: new_project(**{**dict(name='widths', folder=folder, description='a', user='b'), name: odd_values.value_of(drawn)}))

def test_names_that_hide_something(root):
    names = {'json', 'sklearn', 'torchvision', 'lightning', 'upslope', 'torch', 'site', 'antigravity', 'class', 'None', 'a/b', '../a', '.', '', 'a b', 'ä', '1a', 'nbs', 'runs', 'yaml', 'tomli_w'}
    config = configparser.ConfigParser()
    config.read(root/'settings.ini', encoding='utf-8')
    required = {re.match(r'[\w.-]+', line)[0].lower() for key, text in config['DEFAULT'].items() if key.endswith('requirements') for line in text.split('\n') if line.strip()}
    for module, packages in packages_distributions().items():
        if required & {p.lower() for p in packages} and module.isidentifier() and not module.startswith('_'): names.add(module)
    assert {'sklearn', 'pandas', 'yaml', 'hypothesis', 'ipywidgets'} <= names
    for name in sorted(names):
        with pytest.raises(ArgumentError, match='got:'): check_name(name)
    for name in ('widths', 'my_study2', 'match', 'depth_or_width'): check_name(name)

# -- killed -----------------------------------------------------------------------------------------------------------
WORK = '''
import sys, itertools
from upslope.surface.starter import new_project
print('ready', flush=True)
for i in itertools.count(): new_project(f'p{sys.argv[2]}_{i}', sys.argv[1], 'killed')
'''
KILLS = [signal.SIGKILL]*30 + [signal.SIGTERM]*10 + [signal.SIGINT]*5 + [signal.SIGHUP]*5

def whole(path, name):
    texts = project_files(name, 'killed', 'USER')
    found = {p.relative_to(path).as_posix(): p.read_text(encoding='utf-8') for p in path.rglob('*') if p.is_file()}
    return found == texts

def heard():
    "Every signal as a terminal gives it: what was started with `nohup`, or in the background, ignores some"
    for s in set(KILLS): s in (signal.SIGKILL,) or signal.signal(s, signal.SIG_DFL)

@pytest.mark.skipif(os.name == 'nt', reason='Windows has no such signals')
def test_fifty_kills(tmp_path):
    "Whole projects or none, whatever kills the process, and nothing left aside after the next call"
    chance,asides,projects = random.Random(0),0,0
    for trial, kind in enumerate(chance.sample(KILLS, len(KILLS))):
        folder = tmp_path/str(trial)
        process = subprocess.Popen([sys.executable, '-c', WORK, str(folder), str(trial)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=heard)
        assert process.stdout.readline() == 'ready\n'
        time.sleep(chance.uniform(0, .4))
        process.send_signal(kind)
        process.communicate(timeout=60)
        left = sorted(os.listdir(folder)) if folder.exists() else []
        asides += sum(o.startswith('.') for o in left)
        for name in left:
            if not name.startswith('.'): assert whole(folder/name, name), f'{name} is half after {kind.name}'; projects += 1
        assert whole(new_project('after', folder, 'killed'), 'after')
        assert not [o for o in os.listdir(folder) if o.startswith('.')], f'something stays aside after {kind.name}'
    print(f'{projects} whole projects, {asides} left aside')
    assert projects and asides, 'the kills came at no interesting moment'

def test_nobody_sees_half_a_project(tmp_path):
    "Whoever looks while projects are made sees whole ones only"
    files = len(project_files('p', 'killed', 'USER'))
    process = subprocess.Popen([sys.executable, '-c', WORK, str(tmp_path), 'x'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout.readline() == 'ready\n'
        seen,end = {},time.monotonic() + 120
        while len(seen) < 30 and time.monotonic() < end:
            for name in os.listdir(tmp_path):
                if not name.startswith('.') and name not in seen: seen[name] = sum(p.is_file() for p in (tmp_path/name).rglob('*'))
    finally:
        process.kill()
        process.communicate()
    assert len(seen) >= 30 and set(seen.values()) == {files}, seen

def test_only_the_dead_are_swept(tmp_path):
    alive = subprocess.Popen([sys.executable, '-c', 'import time; print("ready", flush=True); time.sleep(60)'], stdout=subprocess.PIPE)
    try:
        alive.stdout.readline()
        from upslope.surface.starter import _aside, _host
        start = Path(f'/proc/{alive.pid}/stat').read_text().rsplit(')', 1)[1].split()[19] if Path('/proc').exists() else 'alive'
        names = dict(ours=_aside(tmp_path/'ours').name, living=f'.living.{_host()}-{alive.pid}-{start}-abcdef.new', elsewhere='.elsewhere.00000000-1-1-abcdef.new', dead=f'.dead.{_host()}-{alive.pid}-1-abcdef.new', other='.other.new')
        for name in names.values(): (tmp_path/name).mkdir()
        sweep(tmp_path)
        assert set(os.listdir(tmp_path)) == {name for key, name in names.items() if key != 'dead'}
    finally:
        alive.kill()
        alive.communicate()

# -- no room, no right ------------------------------------------------------------------------------------------------
def test_full_disk(tmp_path, monkeypatch):
    "An error of the disk in the middle is told in words, and leaves nothing"
    def full(self, *args, **kwargs):
        if self.name == '02_study.ipynb': raise OSError(28, 'No space left on device')
        return written(self, *args, **kwargs)
    written = Path.write_text
    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(ArgumentError, match='No space left on device'): new_project('widths', tmp_path)
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    new_project('widths', tmp_path)

@pytest.mark.skipif(os.name == 'nt' or os.geteuid() == 0, reason='root may write everywhere')
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(ArgumentError, match='may write'): new_project('widths', tmp_path)
    finally: tmp_path.chmod(0o755)

def test_no_folder(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(ArgumentError, match='cannot be written there'): new_project('widths', tmp_path/'file')
    (tmp_path/'widths').symlink_to(tmp_path/'nowhere')
    with pytest.raises(ArgumentError, match='nothing was changed'): new_project('widths', tmp_path)
