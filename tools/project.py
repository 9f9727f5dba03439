"""Keep what is generated equal to what it is generated from.

  python tools/project.py check          say what is out of date, change nothing; fails if anything is
  python tools/project.py sync           bring it up to date
  python tools/project.py readme         the same for README.md and its pictures alone
  python tools/project.py bump [PART]    raise the version in settings.ini (PART 0, 1 or 2; 2 unless told), then sync;
                                         CHANGELOG.md gets a heading for it and a draft of its lines from the commits

settings.ini gives five lines of pyproject.toml and `__version__`; the notebooks give the package, README.md and,
cleaned of what Jupyter leaves in them, themselves. All is made in a temporary copy, so that `check` cannot harm your tree
and `sync` writes only when everything could be made.
"""
import json, re, shutil, subprocess, sys
from configparser import ConfigParser
from contextlib import redirect_stdout
from difflib import unified_diff
from io import StringIO
from pathlib import Path
from posixpath import normpath
from tempfile import TemporaryDirectory

from fastcore.nbio import read_nb, write_nb
from fastcore.xtras import working_directory
from nbdev.clean import nbdev_clean
from names import names
from nbdev.config import bump_version
from nbdev.doclinks import nbdev_export
from nbdev.process import NBProcessor
from nbdev.processors import clean_magics, hide_, hide_line, rm_export, rm_header_dash, strip_ansi

ROOT = Path(__file__).resolve().parent.parent
PICTURES = 'nbs/images'                        # what the README shows: pictures in outputs are written here too
GENERATED = ('pyproject.toml', 'README.md', 'nbs/llms.txt', 'nbs/**/*.ipynb', PICTURES + '/readme-*', 'upslope/**/*.py')

def settings(root):
    "The items of settings.ini"
    parser = ConfigParser(delimiters=['='], interpolation=None)
    parser.read(root/'settings.ini', encoding='utf-8')
    return parser['DEFAULT']

def files(root):
    "The generated files below `root`, by path"
    found = {p for pattern in GENERATED for p in root.glob(pattern) if not any(part[0] in '._' and part != '__init__.py'
             for part in p.relative_to(root).parts[:-1]) and p.is_file()}
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in found}

def substitute(path, pattern, line):
    "Put `line` where `pattern` matches in the file at `path`; exactly one place must match"
    text, n = re.subn(pattern, lambda _: line, path.read_text(encoding='utf-8'), flags=re.M)
    if n != 1: sys.exit(f'{path.name} has {n} lines like {pattern}; one is needed.')
    path.write_text(text, encoding='utf-8')

def write_metadata(root):
    "Repeat settings.ini where a tool can read nothing else"
    ini = settings(root)
    lines = {'name': ini['lib_name'], 'description': ini['description'], 'requires-python': f">={ini['min_python']}",
             'Repository': ini['git_url'], 'Documentation': ini['doc_url']}
    for key, value in lines.items(): substitute(root/'pyproject.toml', rf'^{key} *=.*$', f'{key} = {json.dumps(value)}')
    top, = [p for p in root.glob('nbs/**/*.ipynb') if '#| default_exp __init__"' in p.read_text(encoding='utf-8')]
    substitute(top, r"__version__ = '[^']*'", f"__version__ = '{ini['version']}'")

def tidy_outputs(root):
    "Saved outputs keep no warning of an installed package: it holds the path of one machine; and of a bar drawn over itself only the end"
    for path in root.glob('nbs/**/*.ipynb'):
        nb, changed = read_nb(path), False
        for cell in nb.cells:
            for output in cell.get('outputs', [])[:]:
                if output.output_type != 'stream': continue
                text = ''.join(output.text)
                shown = '' if output.name == 'stderr' and 'site-packages' in text else re.sub(r'.*\r(?=[^\n])', '', text)
                if shown == text: continue
                if shown: output.text = shown.splitlines(keepends=True)
                else: cell.outputs.remove(output)
                changed = True
        if changed: write_nb(nb, path)

def relink(text, change):
    "Markdown with each link into the project changed; what looks like a link in code or in a formula is none"
    links = r'(?s:```.*?```|`[^`\n]*`|\$[^$]*\$)|(?<=\])\((?!\w+:|#|/)(?P<path>[^)#\s]+)'
    return re.sub(links, lambda found: '(' + change(found['path']) if found['path'] else found[0], text)

def write_readme(root):
    "README.md from nbs/index.ipynb: hidden and exported cells left out, outputs kept, links that work from the top folder"
    import nbformat
    from nbconvert import MarkdownExporter
    nb, links = read_nb(root/'nbs'/'index.ipynb'), names(root)
    NBProcessor(nb=nb, procs=[strip_ansi, hide_line, rm_header_dash, rm_export, clean_magics, hide_], rm_directives=True).process()
    for cell in nb.cells:
        cell.pop('idx_', None)
        if cell.cell_type == 'markdown': cell.source = relink(links.linkify(cell.source), lambda path: normpath(f'nbs/{path}'))
    nb.metadata['language_info'] = {'name': 'python'}
    text, resources = MarkdownExporter().from_notebook_node(nbformat.from_dict(nb))
    for number, (name, data) in enumerate(sorted(resources['outputs'].items()), 1):
        picture = f'{PICTURES}/readme-{number}{Path(name).suffix}'
        (root/picture).parent.mkdir(exist_ok=True)
        (root/picture).write_bytes(data)
        text = text.replace(f'({name})', f'({picture})')
    title, rest = re.sub(r'\n{3,}', '\n\n', text).strip().split('\n', 1)
    (root/'README.md').write_text(f'{title}\n\n<!-- Made from nbs/index.ipynb by `make export`: edit that notebook. -->\n\n{rest.lstrip()}\n', encoding='utf-8')

def generate(root):
    "Make everything anew below `root`, a copy that holds no exported module"
    with working_directory(root), redirect_stdout(StringIO()):
        write_metadata(root)
        nbdev_clean.__wrapped__()
        tidy_outputs(root)
        nbdev_export.__wrapped__()
        write_readme(root)

def differences():
    "Path -> (content as it is, content as it should be); None for a file that is not there"
    with TemporaryDirectory() as folder:
        copy = Path(folder).resolve()
        for path, content in files(ROOT).items():
            if path.endswith('.py') or 'images/' in path: continue   # whatever is not made again is stale
            (copy/path).parent.mkdir(parents=True, exist_ok=True)
            (copy/path).write_bytes(content)
        shutil.copy(ROOT/'settings.ini', copy)
        generate(copy)
        have, want = files(ROOT), files(copy)
    return {path: (have.get(path), want.get(path)) for path in sorted({*have, *want}) if have.get(path) != want.get(path)}

def describe(path, have, want, n_lines=12):
    "What is wrong with one file, for a person"
    if want is None: return f'{path}: nothing gives this file any more'
    if have is None: return f'{path}: is missing'
    if path.endswith('.png'): return f'{path}: another picture'
    lines = list(unified_diff(have.decode().splitlines(), want.decode().splitlines(), lineterm='', n=0))[2:]
    more = [f'  … {len(lines) - n_lines} more lines'] if len(lines) > n_lines else []
    return '\n'.join([f'{path}: - as it is, + as it should be', *(f'  {line[:160]}' for line in lines[:n_lines]), *more])

def check():
    wrong = differences()
    if not wrong: return print('Package, README.md, notebooks and metadata are what their sources give.')
    print(*(describe(path, *contents) for path, contents in wrong.items()), sep='\n', file=sys.stderr)
    sys.exit(f'\n{len(wrong)} files differ from what their sources give.\n  fix:  make export, look at `git diff`, commit')

def sync(only=lambda path: True):
    changed = {path: want for path, (_, want) in differences().items() if only(path)}
    for path, want in changed.items():
        if want is None: (ROOT/path).unlink()
        else:
            (ROOT/path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT/path).write_bytes(want)
    print(*[f"{'removed' if want is None else 'wrote'} {path}" for path, want in changed.items()] or ['Nothing was out of date.'], sep='\n')

def readme(): sync(lambda path: path == 'README.md' or path.startswith(PICTURES))

def changes(root):
    "The commits since the last tag, a line for each room: the words before the colon, then what its commits say, oldest first"
    def git(*args):
        done = subprocess.run(['git', *args], cwd=root, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ''
    last, rooms = git('describe', '--tags', '--abbrev=0'), {}
    for subject in git('log', '--no-merges', '--reverse', '--format=%s', f'{last}..HEAD' if last else 'HEAD').splitlines():
        room, colon, what = subject.partition(': ')
        if colon and ' ' not in room.strip(): rooms.setdefault(room, []).append(what)
    return [f"- {room}: {'; '.join(dict.fromkeys(said))}." for room, said in sorted(rooms.items())]

def write_changelog(root, version):
    "A section for the version, below the marker; a person makes sentences of its lines"
    path, mark = root/'CHANGELOG.md', '<!-- do not remove -->'
    text = path.read_text(encoding='utf-8')
    if f'## {version}\n' in text: return
    if text.count(mark) != 1: sys.exit(f'CHANGELOG.md needs the line {mark} once; new sections go below it.')
    path.write_text(text.replace(mark, '\n'.join([mark, '', f'## {version}', '', *changes(root)])), encoding='utf-8')

def bump(part='2'):
    new = bump_version(settings(ROOT)['version'], int(part))
    write_changelog(ROOT, new)
    substitute(ROOT/'settings.ini', r'^version *=.*$', f'version = {new}')
    sync()
    print(f'The version is {new}. CHANGELOG.md has a draft of what is new: make sentences of it.')

if __name__ == '__main__':
    commands = dict(check=check, sync=sync, readme=readme, bump=bump)
    name, *args = sys.argv[1:] or ['']
    if name not in commands or len(args) > (name == 'bump') or args not in ([], ['0'], ['1'], ['2']): sys.exit(__doc__)
    commands[name](*args)
