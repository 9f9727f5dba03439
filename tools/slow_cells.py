"""Run the cells that `make test` leaves out, and say where what is saved is not what the code gives.

  python tools/slow_cells.py [NOTEBOOK ...]      those that begin with `#| slow`; all notebooks with such cells, unless some are named

Numbers differ from machine to machine and may. What is compared is their form: the columns and the number of rows of
each table, how many sentences there are and how each begins, whether there is a picture. The new outputs are saved, to
be looked at and committed; the exit code is 1 if a form has changed.
"""
import re, subprocess, sys
from html.parser import HTMLParser
from pathlib import Path

from fastcore.nbio import read_nb

ROOT = Path(__file__).resolve().parent.parent
SLOW = '#| slow'
NUMBER = re.compile(r'[-+−]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?')
WORDS = 3   # of the beginning of a sentence

class _Tables(HTMLParser):
    "The head and the number of rows of each table of a page"
    def __init__(self):
        super().__init__()
        self.tables,self.inside,self.text = [],'',None
    def handle_starttag(self, tag, attrs):
        if tag == 'table': self.tables.append(dict(columns=[], rows=0))
        elif tag in ('thead', 'tbody'): self.inside = tag
        elif tag == 'tr' and self.inside == 'tbody' and self.tables: self.tables[-1]['rows'] += 1
        elif tag in ('th', 'td') and self.inside == 'thead': self.text = ''
    def handle_data(self, data):
        if self.text is not None: self.text += data
    def handle_endtag(self, tag):
        if tag in ('thead', 'tbody'): self.inside = ''
        elif tag in ('th', 'td') and self.text is not None:
            self.tables[-1]['columns'].append(self.text.strip())
            self.text = None

def tables_of(
    html:str,
) -> list:   # of {columns, rows}, for each table
    "The form of the tables in a page"
    parser = _Tables()
    parser.feed(html)
    return [table for table in parser.tables if table['columns']]

def beginning(
    line:str,   # a sentence, or a line of a table
) -> str:
    "The first words, with # for numbers"
    return ' '.join(NUMBER.sub('#', line).split()[:WORDS])

def form(
    output,   # of a cell
) -> list:
    "What an output is, but for its numbers: a line for each table, sentence, picture"
    data = output.get('data', {})
    if output.output_type == 'error': return [f'error {output.ename}']
    if output.output_type == 'stream': return [f'sentence: {beginning(line)}' for line in _text(output.text).splitlines() if line.strip()]
    tables = tables_of(_text(data.get('text/html', '')))
    if tables: return [f"table: {' | '.join(t['columns'])}; {t['rows']} rows" for t in tables]
    pictures = [mime for mime in data if mime.startswith('image/')]
    return [f'picture: {mime}' for mime in pictures] or [f"value: {beginning(_text(data.get('text/plain', '')))}"]

def _text(text) -> str: return text if isinstance(text, str) else ''.join(text)

def slow_cells(
    path,      # of a notebook
) -> dict:     # cell id -> cell
    "The cells that tests leave out"
    return {cell.id: cell for cell in read_nb(path).cells if cell.cell_type == 'code' and cell.source.lstrip().startswith(SLOW)}

def forms(path) -> dict:
    "cell id -> what its saved outputs are"
    return {id: [line for output in cell.outputs for line in form(output)] for id, cell in slow_cells(path).items()}

def changes(
    before:dict,   # as `forms` gives it
    after:dict,
) -> list:
    "A line for each thing that is there no more, or is new"
    found = []
    for id in after:
        old,new = before.get(id, []),after[id]
        if old == new: continue
        found += [f'  cell {id}: - {line}' for line in old if line not in new]
        found += [f'  cell {id}: + {line}' for line in new if line not in old]
        if sorted(set(old)) == sorted(set(new)): found.append(f'  cell {id}: {len(old)} lines were saved, and there are {len(new)}')
    return found

def run(path) -> int:
    "Run all cells of a notebook, the slow ones too, and save what they give"
    return subprocess.run([Path(sys.executable).with_name('nbdev-test'), path, '--n-workers', '1', '--flags', 'slow', '--save'], cwd=ROOT).returncode

def main(names) -> int:
    paths = [Path(name).resolve() for name in names] or sorted((ROOT/'nbs').rglob('*.ipynb'))
    paths = [path for path in paths if '.ipynb_checkpoints' not in path.parts and slow_cells(path)]
    before,failed = {path: forms(path) for path in paths},[]
    for path in paths:
        print(f'{path.relative_to(ROOT)}: {len(before[path])} slow cells', flush=True)
        if run(path): failed.append(path.relative_to(ROOT))
    subprocess.run([sys.executable, ROOT/'tools'/'project.py', 'sync'], cwd=ROOT, check=True)   # takes progress bars and the like out of the outputs
    told = {path.relative_to(ROOT): changes(before[path], forms(path)) for path in paths}
    changed = {name: lines for name, lines in told.items() if lines and name not in failed}
    for name in failed: print(f'{name} does not run.')
    for name, lines in changed.items(): print(f'{name}: what was saved is not what the code gives. Look at the new outputs, and commit them.', *lines, sep='\n')
    if not failed and not changed: print(f'{len(paths)} notebooks: what their slow cells have saved is what the code gives.')
    return bool(failed or changed)

if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
