"The project holds together: one source for its metadata, generated files that are current, imports that obey the law"
import ast, json, os, re, shutil, subprocess, sys, tarfile, tempfile
from collections import Counter
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest, yaml
import import_law, project
from packaging.requirements import Requirement

ROOT = project.ROOT
INI = project.settings(ROOT)

def lines(key): return [line for line in INI[key].splitlines() if line]

def committed():
    "The files that git has, or would get with `git add .`"
    if not (ROOT/'.git').exists(): pytest.skip('not a git checkout')
    listed = subprocess.run(['git', 'ls-files', '-z', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT/name for name in listed.split('\0') if name and (ROOT/name).is_file()]

def notebooks(): return [path for path in committed() if path.suffix == '.ipynb']

def cells(path, kind='code'):
    return [''.join(cell['source']) for cell in json.loads(path.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == kind]

def python(code, **env):
    "What a fresh Python prints"
    done = subprocess.run([sys.executable, '-c', code], cwd=tempfile.gettempdir(), env={**os.environ, 'PYTHONPATH': str(ROOT), **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()

# -- settings.ini is the one source -----------------------------------------------------------------------------------
once = pytest.mark.xdist_group('built')   # in one process, so that they are built once

@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "An sdist, and the wheel that is built from it"
    tree, dist = tmp_path_factory.mktemp('tree'), tmp_path_factory.mktemp('dist')
    for path in committed():
        (tree/path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tree/path.relative_to(ROOT))
    done = subprocess.run([sys.executable, '-m', 'build', '--no-isolation', '--outdir', dist, tree], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    wheel, = dist.glob('*.whl')
    sdist, = dist.glob('*.tar.gz')
    return wheel, sdist

@pytest.fixture(scope='module', params=['wheel', 'sdist'])
def metadata(request, built):
    "The metadata that pip reads"
    wheel, sdist = built
    if request.param == 'wheel':
        with ZipFile(wheel) as archive: return message_from_bytes(archive.read(next(n for n in archive.namelist() if n.endswith('.dist-info/METADATA'))))
    with tarfile.open(sdist) as archive: return message_from_bytes(archive.extractfile(f"{INI['lib_name']}-{INI['version']}/PKG-INFO").read())

@once
def test_name_version_and_words_come_from_settings(metadata):
    assert (metadata['Name'], metadata['Version'], metadata['Summary']) == (INI['lib_name'], INI['version'], INI['description'])
    assert (metadata['License-Expression'], metadata['License-File']) == (INI['license'], 'LICENSE')
    assert INI['lib_name'] in metadata.get_payload() and '](nbs/' not in metadata.get_payload()   # PyPI shows the README, but no relative link
    assert metadata['Requires-Python'] == f">={INI['min_python']}"
    assert {line.rpartition(' ')[2] for line in metadata.get_all('Classifier') if line.startswith('Programming Language :: Python :: 3.')} == set(INI['pythons'].split())
    assert metadata['Author-email'] == f"{INI['author']} <{INI['author_email']}>" or (metadata['Author'], metadata['Author-email']) == (INI['author'], INI['author_email'])
    assert metadata['Keywords'].replace(',', ' ').split() == INI['keywords'].split()
    assert set(metadata.get_all('Project-URL')) == {f"Repository, {INI['git_url']}", f"Documentation, {INI['doc_url']}"}

@once
def test_requirements_and_extras_come_from_settings(metadata):
    extras = [key.removesuffix('_requirements') for key in INI if key.endswith('_requirements')]
    want = {(str(Requirement(line)), None) for line in lines('requirements')}
    want |= {(str(Requirement(line)), extra) for extra in extras for line in lines(f'{extra}_requirements')}
    want |= {(str(Requirement(line)), 'all') for extra in extras if extra not in ('dev', 'bench') for line in lines(f'{extra}_requirements')}
    extras.append('all')
    have = set()
    for line in metadata.get_all('Requires-Dist'):
        requirement = Requirement(line)
        extra = next((extra for extra in extras if requirement.marker and not requirement.marker.evaluate({'extra': ''})
                      and requirement.marker.evaluate({'extra': extra})), None)
        if extra: requirement.marker = None
        have.add((str(requirement), extra))
    assert have == want and set(metadata.get_all('Provides-Extra')) == set(extras) and {'dev', 'docs'} <= set(extras)

@once
def test_wheel_holds_what_a_user_needs(built):
    with ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        entry_points = wheel.read(next(n for n in names if n.endswith('entry_points.txt'))).decode()
    assert {'upslope/py.typed', 'upslope/_modidx.py', 'upslope/core/errors.py'} <= names and any(n.endswith('licenses/LICENSE') for n in names)
    assert all(name.startswith(('upslope/', 'upslope-')) for name in names)
    have = {line for line in entry_points.splitlines() if line}
    assert have == {'[console_scripts]', *map(spaced, lines('console_scripts')), '[nbdev]', 'upslope = upslope._modidx:d'}

def spaced(entry): return ' = '.join(part.strip() for part in entry.split('='))

@once
def test_sdist_holds_what_a_build_needs(built):
    with tarfile.open(built[1]) as sdist: names = {name.partition('/')[2] for name in sdist.getnames()}
    assert {'settings.ini', 'setup.py', 'pyproject.toml', 'LICENSE', 'README.md', 'nbs/index.ipynb'} <= names

@once
def test_installed_wheel_imports_and_knows_its_metadata(built, tmp_path):
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', tmp_path, built[0]], check=True)
    file, version, installed, needs = python('''
import upslope; from importlib.metadata import distribution; d = distribution("upslope")
print(upslope.__file__, upslope.__version__, d.version, len(d.requires))''', PYTHONPATH=str(tmp_path))
    assert Path(file).is_relative_to(tmp_path) and version == installed == INI['version'] and int(needs) > len(lines('requirements'))

@once
def test_pypi_would_take_them(built):
    done = subprocess.run([sys.executable, '-m', 'twine', 'check', '--strict', *built], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

@pytest.fixture(scope='module')
def installed(built, tmp_path_factory):
    "An environment that holds nothing but the wheel; what upslope needs is seen through a path file, so that nothing is downloaded"
    home = tmp_path_factory.mktemp('installed')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', home/'env'], check=True)
    site = next((home/'env').glob('lib/python*/site-packages'))
    subprocess.run([sys.executable, '-m', 'pip', '--python', home/'env', 'install', '-q', '--no-deps', '--no-index', built[0]], check=True)
    (site/'dependencies.pth').write_text('\n'.join(p for p in sys.path if p.endswith('site-packages')) + '\n')
    env = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'IN_TEST')} | dict(PATH=f"{home/'env'/'bin'}{os.pathsep}{os.environ['PATH']}", COLUMNS='120')
    def run(*command, cwd=home, code=0):
        done = subprocess.run([home/'env'/'bin'/command[0], *command[1:]], cwd=cwd, env=env, capture_output=True, text=True, timeout=900)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else '')
    run.home = home
    return run

@once
def test_the_installed_command_and_each_of_its_subcommands_answer(installed):
    where = installed('python', '-c', 'import upslope; print(upslope.__file__)').strip()
    assert Path(where).is_relative_to(installed.home)
    assert (Path(where).parent/'py.typed').exists()
    told = installed('upslope', '--help')
    commands = re.findall(r'^    ([\w-]+) ', told, flags=re.M)
    assert {'demo', 'report', 'info', 'new'} <= set(commands), told
    for command in commands: assert f'upslope {command}' in installed('upslope', command, '--help')
    assert installed('upslope', '--version').strip() == INI['version'] == installed('python', '-m', 'upslope', '--version').strip()

@once
def test_info_tells_versions_and_what_each_extra_lacks(installed):
    told = installed('upslope', 'info')
    for line in lines('requirements'): assert re.search(rf'^  {Requirement(line).name} \d', told, flags=re.M) or Requirement(line).marker, told
    extras = {key.removesuffix('_requirements') for key in INI if key.endswith('_requirements')} | {'all'}
    said = dict(re.findall(r'^  \[(\w+)\] (.*)$', told, flags=re.M))
    assert set(said) == extras
    assert all(text == 'complete' or text.endswith(f'pip install "upslope[{extra}]"') and 'lacks ' in text for extra, text in said.items()), said
    assert said['docs'] == 'complete'   # these tests need it

@once
def test_an_error_of_the_installed_command_is_words(installed):
    assert 'There is no such store' in installed('upslope', 'report', 'nothing.db', code=1)

@once
def test_a_project_that_upslope_starts_passes_its_own_tests_which_run_its_study(installed):
    installed('upslope', 'new', 'widths', '--description', 'Does width matter?', '--user', 'somebody')
    root = installed.home/'widths'
    yaml.safe_load((root/'.github/workflows/test.yaml').read_text())
    assert 'somebody.github.io/widths' in (root/'pyproject.toml').read_text()
    tool = 'import sys; sys.path.insert(0, ""); from nbdev.{0} import {1}; {1}.__wrapped__({2})'
    installed('python', '-c', tool.format('doclinks', 'nbdev_export', ''), cwd=root)
    installed('python', '-c', 'import sys, os; sys.path.insert(0, ""); os.environ["PYTHONPATH"] = os.getcwd(); from nbdev.test import nbdev_test; nbdev_test.__wrapped__(n_workers=1)', cwd=root)
    assert 'nothing was changed' in installed('upslope', 'new', 'widths', code=1)

@once
def test_the_sdist_installs_too(built, tmp_path):
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--no-build-isolation', '--target', tmp_path, built[1]], check=True)
    assert (tmp_path/'upslope/py.typed').exists()
    assert python('import upslope; print(upslope.__file__)', PYTHONPATH=str(tmp_path))[0].startswith(str(tmp_path))

def test_what_is_missing_is_to_be_had_by_the_command_that_the_error_names():
    "Each `pip install upslope[extra]` in the package names an extra that there is"
    extras = {key.removesuffix('_requirements') for key in INI if key.endswith('_requirements')} | {'all'}
    for path in (ROOT/'upslope').rglob('*.py'):
        for named in re.findall(r'pip install "?upslope\[(\w+)\]', path.read_text(encoding='utf-8')): assert named in extras, f'{path}: {named}'

def test_package_says_the_version_of_settings():
    assert python('import upslope; print(upslope.__version__)') == [INI['version']]

def test_citation_repeats_settings():
    cited = yaml.safe_load((ROOT/'CITATION.cff').read_text(encoding='utf-8'))
    assert [cited[key] for key in ('title', 'abstract', 'license', 'repository-code')] == [INI[key] for key in ('lib_name', 'description', 'license', 'git_url')]
    assert cited['authors'] == [{'name': INI['author']}]

# -- what is generated is current -------------------------------------------------------------------------------------
def test_nothing_generated_is_out_of_date(): assert project.differences() == {}

@pytest.fixture(scope='module')
def part(tmp_path_factory):
    "A part of the project, for which its tool is quick: the first room, the top of the package, the index, and nothing else of the rooms"
    kept, folder = re.compile(r'(nbs|upslope)/([^/]*core/|13-surface/05|images|index|\w+\.py$)'), tmp_path_factory.mktemp('part')
    for path in committed():
        name = path.relative_to(ROOT)
        if name.parts[0] in ('benchmarks', 'tests', 'tools') or name.parts[0] in ('nbs', 'upslope') and not kept.match(name.as_posix()): continue
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder/name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, 'ROOT', folder)
        project.sync()   # the index of symbols is smaller here
    return folder

@pytest.fixture
def copy(part, tmp_path, monkeypatch):
    "A copy of that part, on which the project's tool works"
    shutil.copytree(part, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(project, 'ROOT', tmp_path)
    return tmp_path

def edit(path, old, new):
    text = path.read_text(encoding='utf-8')
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding='utf-8')

MISTAKES = {   # name of the mistake -> (how to make it, the files that are then wrong)
    'an exported module edited by hand': (lambda at: edit(at/'upslope/core/seeds.py', '>> 1', '>> 2'), {'upslope/core/seeds.py'}),
    'a module whose notebook is gone': (lambda at: (at/'upslope/core/old.py').write_text('x = 1\n'), {'upslope/core/old.py'}),
    'a notebook that was not exported': (lambda at: edit(at/'nbs/01-core/04_seeds.ipynb', '>> 1', '>> 2'), {'upslope/core/seeds.py'}),
    'README.md edited by hand': (lambda at: edit(at/'README.md', '# upslope', '# Upslope'), {'README.md'}),
    'a notebook that was not cleaned': (lambda at: edit(at/'nbs/01-core/04_seeds.ipynb', '"execution_count": null', '"execution_count": 7'), {'nbs/01-core/04_seeds.ipynb'}),
    'a warning that names a folder of this machine': (lambda at: edit(at/'nbs/01-core/04_seeds.ipynb', '"outputs": []',
        '"outputs": [{"name": "stderr", "output_type": "stream", "text": ["lib/site-packages/x.py:1: Warning\\n"]}]'), {'nbs/01-core/04_seeds.ipynb'}),
    'a progress bar that was drawn over itself': (lambda at: edit(at/'nbs/01-core/04_seeds.ipynb', '"outputs": []',
        '"outputs": [{"name": "stdout", "output_type": "stream", "text": ["50 %\\r", "100 %\\n"]}]'), {'nbs/01-core/04_seeds.ipynb'}),
    'another description': (lambda at: edit(at/'settings.ini', 'description = Deep', 'description = Very deep'), {'pyproject.toml'}),
    'another version': (lambda at: edit(at/'settings.ini', 'version = ', 'version = 9'), {'nbs/13-surface/05_package.ipynb', 'upslope/__init__.py'}),
    'a picture that nothing shows': (lambda at: [(at/'nbs/images').mkdir(exist_ok=True), (at/'nbs/images/readme-99.png').write_bytes(b'')], {'nbs/images/readme-99.png'}),
}

@pytest.mark.parametrize('mistake', MISTAKES)
def test_each_mistake_is_found_and_mended_and_checking_changes_nothing(mistake, copy, capsys):
    make, wrong = MISTAKES[mistake]
    make(copy)
    before = project.files(copy)
    capsys.readouterr()
    with pytest.raises(SystemExit, match='fix:  make export'): project.check()
    assert set(re.findall(r'^([\w./-]+): ', capsys.readouterr().err, flags=re.M)) == wrong
    assert project.files(copy) == before
    project.sync()
    assert project.differences() == {}

def test_bump_raises_the_version_everywhere(copy):
    project.bump('1')
    major, minor, _ = INI['version'].split('.')
    new = f'{major}.{int(minor) + 1}.0'
    assert f'<!-- do not remove -->\n\n## {new}\n' in (copy/'CHANGELOG.md').read_text()
    assert f'version = {new}\n' in (copy/'settings.ini').read_text() and f"__version__ = '{new}'" in (copy/'upslope/__init__.py').read_text()
    assert project.differences() == {}

def test_the_changelog_is_drafted_from_the_commits_since_the_last_tag(tmp_path):
    def git(*args): subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *args], cwd=tmp_path, env={**os.environ, 'GIT_CONFIG_GLOBAL': os.devnull}, check=True, capture_output=True)
    git('init', '-q')
    for subject in ('Lab: old', 'tag', 'Lab: queue', 'Train: faster', 'Regenerate after merge', 'Lab: queue', 'Lab: study'):
        git('tag', 'v0.1.0') if subject == 'tag' else git('commit', '-q', '--allow-empty', '-m', subject)
    (tmp_path/'CHANGELOG.md').write_text('# Notes\n\n<!-- do not remove -->\n\n## 0.1.0\n\n- First.\n')
    project.write_changelog(tmp_path, '0.2.0')
    project.write_changelog(tmp_path, '0.2.0')   # the second time there is nothing to do
    assert (tmp_path/'CHANGELOG.md').read_text() == '# Notes\n\n<!-- do not remove -->\n\n## 0.2.0\n\n- Lab: queue; study.\n- Train: faster.\n\n## 0.1.0\n\n- First.\n'

# -- notebooks --------------------------------------------------------------------------------------------------------
def test_no_merge_conflict_is_left_in_a_notebook():
    for path in notebooks():
        for kind in ('code', 'markdown', 'raw'):
            for source in cells(path, kind): assert not re.search(r'^`?(<{7}|>{7}|={7}$)', source, flags=re.M), f'{path}: {source}'

def test_every_notebook_was_run():
    for path in notebooks():
        code = [cell for cell in json.loads(path.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'code']
        outputs = [cell['outputs'] for cell in code]
        only_lists = all(re.match(r'#\| *(export|default_exp)', ''.join(cell['source'])) for cell in code)   # an index may show nothing
        assert any(outputs) or only_lists, f'{path} shows nothing: let a cell show a result. fix: make prepare'
        assert not any(output['output_type'] == 'error' for each in outputs for output in each), f'{path} shows an error that nobody expected'

def exported(source): return re.match(r'#\| *exports?\b', source)

def test_every_public_definition_is_used_in_a_notebook_or_a_test():
    "An index only lists names; what no other cell and no test mentions was never called. Tests may build the names of 1D, 2D and 3D layers"
    def family(name): return re.sub(r'[123]D$', 'nD', name)
    sources = [source for path in notebooks() if path.name != 'index.ipynb' for source in cells(path)]
    tests = [path.read_text(encoding='utf-8') for path in (ROOT/'tests').rglob('*.py')]
    words = Counter(map(family, re.findall(r'\w+', '\n'.join(sources + tests))))
    nodes = [node for source in sources if exported(source) for node in ast.parse(source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    defined = Counter(family(node.name) for node in nodes if not node.name.startswith('_'))
    unused = [name for name, n in defined.items() if words[name] <= n]
    assert defined and not unused, f"nothing uses {', '.join(unused)}"

# -- the package ------------------------------------------------------------------------------------------------------
def test_imports_obey_the_law(): assert import_law.faults(ROOT) == []

TREES = {   # modules with what they import -> words of the fault; None: there is none
    'to a smaller notebook': ({'01-core/02_b': 'from upslope.core.a import x', '01-core/01_a': ''}, None),
    'to a smaller folder': ({'02-layers/01_b': 'import upslope.core.a', '01-core/05_a': ''}, None),
    'an index to its room': ({'01-core/index': 'from .a import x', '01-core/01_a': ''}, None),
    'to a larger notebook': ({'01-core/01_b': 'from .a import x', '01-core/02_a': ''}, 'core.b (01-01) imports core.a (01-02), which comes later'),
    'to a larger folder, inside a function': ({'01-core/01_b': 'def f():\n    from ..layers import a', '02-layers/01_a': ''}, 'imports layers.a (02-01), which comes later'),
    'to its own index': ({'01-core/01_b': 'from upslope.core import x', '01-core/index': ''}, 'imports core (01-index), which comes later'),
    'training to layers': ({'04-train/01_b': 'import upslope.layers.a as a', '02-layers/01_a': ''}, 'layers.a (02-01), which is a room that stays apart'),
    'text to another applied room': ({'09-text/01_b': 'from upslope.diffeq import a', '08-diffeq/01_a': ''}, 'stays apart'),
}

@pytest.mark.parametrize('tree', TREES)
def test_law_finds_what_is_wrong_and_nothing_else(tree, tmp_path):
    contents, fault = TREES[tree]
    for name, code in contents.items():
        folder, notebook = name.split('/')
        room = folder.partition('-')[2]
        module = '__init__' if notebook == 'index' else notebook.partition('_')[2]
        for path, text in [(tmp_path/'nbs'/f'{name}.ipynb', f'#| default_exp {room}.{module}'), (tmp_path/'upslope'/room/f'{module}.py', code)]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    found = import_law.faults(tmp_path)
    assert (found == []) if fault is None else (len(found) == 1 and fault in found[0]), found

def test_no_star_import_in_the_package():
    for path in (ROOT/'upslope').rglob('*.py'):
        stars = [node.lineno for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))) if isinstance(node, ast.ImportFrom) and node.names[0].name == '*']
        assert not stars or path.name == 'all.py', f'{path}:{stars}'

LOADED = 'import sys; print(*[m for m in ("upslope.core", "torch", "fastai", "matplotlib") if m in sys.modules])'

def test_importing_the_package_loads_no_room(): assert python('import upslope, upslope.__init__; dir(upslope);' + LOADED) == []

@pytest.mark.parametrize('room', ['core', 'layers'])
def test_first_rooms_do_not_load_fastai(room):
    if not (ROOT/'upslope'/room).exists(): pytest.skip(f'there is no room {room} yet')
    assert 'fastai' not in python(f'import upslope.{room};' + LOADED)

def test_every_room_lists_its_public_names_and_no_other_room_has_them():
    import upslope
    assert set(upslope.public_names().values()) == set(upslope.rooms()), 'a room has no index.ipynb that lists its public names'
    owners = {}
    for room in upslope.rooms():
        for name in getattr(upslope, room).__all__:
            value = getattr(getattr(upslope, room), name)
            assert owners.setdefault(name, (room, value))[1] is value, f'{name} is one thing in {owners[name][0]} and another in {room}'

def test_star_import_gives_the_names_of_every_room():
    import upslope
    assert set(upslope.public_names()) <= set(python('from upslope.all import *; print(*dir())'))

# -- nothing of one machine -------------------------------------------------------------------------------------------
def test_no_path_of_a_machine_is_committed():
    here = {str(path) + os.sep for path in (ROOT, ROOT.parent, Path.home(), Path(sys.prefix)) if len(path.parts) > 1}
    pattern = re.compile('|'.join([*map(re.escape, here), r'/(?:home|Users)/\w+/', r'[A-Z]:\\\\Users', r'/ipykernel_\d']))
    for path in committed():
        if path.suffix in ('.png', '.svg', '.ico'): continue
        found = pattern.search(path.read_text(encoding='utf-8'))
        assert not found, f'{path.relative_to(ROOT)} holds {found[0]}'

# -- workflows --------------------------------------------------------------------------------------------------------
WORKFLOWS = sorted((ROOT/'.github'/'workflows').glob('*.y*ml'))

@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_parses_and_calls_targets_that_exist(path):
    flow = yaml.safe_load(path.read_text(encoding='utf-8'))
    assert flow['name'] and flow[True] and flow['permissions'] == {'contents': 'read'}   # YAML reads the key `on` as true
    targets = set(re.findall(r'^([\w-]+):', (ROOT/'Makefile').read_text(), flags=re.M))
    steps = [step for job in flow['jobs'].values() for step in job['steps']]
    assert all(('uses' in step) != ('run' in step) for step in steps)
    called = {target for step in steps for target in re.findall(r'^ *make ([\w-]+)', step.get('run', ''), flags=re.M)}
    assert called and called <= targets

def workflow_faults(folder):
    "What GitHub would refuse: by its schema, and by what the expressions name"
    files = sorted(folder.glob('*.y*ml'))
    said = subprocess.run([sys.executable, '-m', 'check_jsonschema', '--builtin-schema', 'vendor.github-workflows', *files], capture_output=True, text=True)
    faults = [said.stdout + said.stderr] if said.returncode else []
    for path in files:
        flow = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, job in flow.get('jobs', {}).items():
            needs = [job['needs']] if isinstance(job.get('needs'), str) else job.get('needs', [])
            faults += [f'{path.name}: job {name} needs {other}, which is not there' for other in needs if other not in flow['jobs']]
            known = {'matrix': set(job.get('strategy', {}).get('matrix', {})) - {'include', 'exclude'}, 'steps': {step['id'] for step in job.get('steps', ()) if 'id' in step}, 'needs': set(needs)}
            for context, item in re.findall(r'(?<![\w.])(\w+)\.([\w-]+)', ' '.join(re.findall(r'\$\{\{(.*?)\}\}', yaml.safe_dump(job)))):
                if context not in {'matrix', 'steps', 'needs', 'github', 'env', 'runner', 'job', 'strategy', 'inputs', 'secrets', 'vars'}: faults.append(f'{path.name}: there is no context {context}')
                elif context in known and item not in known[context]: faults.append(f'{path.name}: {context} has no {item}')
            for step in job.get('steps', ()):
                if 'uses' in step and not step['uses'].startswith('./') and '@' not in step['uses']: faults.append(f"{path.name}: {step['uses']} names no version")
                if 'run' in step and subprocess.run(['bash', '-n'], input=re.sub(r'\$\{\{.*?\}\}', 'x', step['run']), text=True, capture_output=True).returncode: faults.append(f"{path.name}: bash cannot read {step['run']!r}")
    return faults

def test_the_tests_run_on_the_oldest_and_on_the_newest_python_that_is_declared():
    tested = yaml.safe_load((ROOT/'.github/workflows/test.yaml').read_text(encoding='utf-8'))['jobs']['test']['strategy']['matrix']['python']
    declared = INI['pythons'].split()
    assert INI['min_python'] == declared[0] == tested[0] and declared[-1] == tested[-1] and set(tested) <= set(declared) and len(tested) >= 3

def test_github_would_take_the_workflows(): assert workflow_faults(ROOT/'.github'/'workflows') == []

PLANTED = {   # what is changed in test.yaml -> words of the fault
    'a key that does not exist': ('    timeout-minutes: 60', '    timeout-minute: 60', 'timeout-minute'),
    'a matrix axis that is not there': ('matrix.python', 'matrix.pyhton', 'matrix has no pyhton'),
    'an action without a version': ('actions/checkout@v5', 'actions/checkout', 'names no version'),
    'a need that is no job': ('    runs-on: ubuntu', '    needs: build\n    runs-on: ubuntu', 'needs build, which is not there'),
    'a context that does not exist': ('${{ matrix.python }}', '${{ matrx.python }}', 'there is no context matrx'),
    'a line that is no shell': ('run: make test', 'run: "make test \'"', 'bash cannot read')}

@pytest.mark.parametrize('mistake', PLANTED)
def test_a_mistake_in_a_workflow_is_found(mistake, tmp_path):
    old, new, words = PLANTED[mistake]
    text = (ROOT/'.github/workflows/test.yaml').read_text(encoding='utf-8')
    assert old in text
    (tmp_path/'test.yaml').write_text(text.replace(old, new, 1), encoding='utf-8')
    found = workflow_faults(tmp_path)
    assert any(words in fault for fault in found), found

def test_hooks_before_a_commit_clean_notebooks_and_look_at_tests(tmp_path):
    "Both hooks, run by pre-commit on a repository with one of each mistake"
    for name in ('.pre-commit-config.yaml', 'pyproject.toml', 'settings.ini'): shutil.copy(ROOT/name, tmp_path)
    (tmp_path/'.venv').symlink_to(sys.prefix)
    (tmp_path/'nbs').mkdir(); (tmp_path/'tests').mkdir(); (tmp_path/'upslope').mkdir()
    (tmp_path/'nbs/01_a.ipynb').write_text(json.dumps(dict(cells=[dict(cell_type='code', id='a', metadata={}, source=['1'], execution_count=7, outputs=[])], metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')), nbformat=4, nbformat_minor=5), indent=1) + '\n')
    (tmp_path/'tests/test_a.py').write_text('import os\nprint(lost)\n')
    (tmp_path/'.gitignore').write_text('.venv\n')
    env = {**os.environ, 'PRE_COMMIT_HOME': str(tmp_path/'.cache'), 'GIT_CONFIG_GLOBAL': os.devnull}
    def git(*args): subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *args], cwd=tmp_path, env=env, check=True, capture_output=True)
    git('init', '-q'); git('add', '-A', '.gitignore', 'nbs', 'tests', '.pre-commit-config.yaml', 'pyproject.toml')
    def hooks(): return subprocess.run([sys.executable, '-m', 'pre_commit', 'run', '--all-files'], cwd=tmp_path, env=env, capture_output=True, text=True)
    told = hooks()
    assert told.returncode and 'F821' in told.stdout and 'F401' in told.stdout and 'files were modified by this hook' in told.stdout, told.stdout
    assert json.loads((tmp_path/'nbs/01_a.ipynb').read_text())['cells'][0]['execution_count'] is None
    (tmp_path/'tests/test_a.py').write_text('print(1)\n')
    git('add', 'nbs', 'tests')
    assert hooks().returncode == 0, hooks().stdout

def test_the_hook_of_ruff_has_nothing_to_say():
    "Else it would refuse the next commit that touches the file"
    done = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--no-cache', '--output-format', 'concise', 'tests', 'benchmarks', 'tools'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

def test_release_publishes_by_trust_and_not_by_token():
    text = (ROOT/'.github/workflows/release.yaml').read_text(encoding='utf-8')
    publish = yaml.safe_load(text)['jobs']['publish']
    assert publish['permissions'] == {'id-token': 'write'} and publish['environment'] == 'pypi' and publish['needs'] == 'build'
    assert any(step.get('uses', '').startswith('pypa/gh-action-pypi-publish@') for step in publish['steps']) and 'secrets.' not in text
