"An error names the user's line: in a script, in a notebook, and in a notebook in which the library itself is written."
from pathlib import Path
import nbformat, pytest
from execnb.shell import CaptureShell
from torch import nn
from upslope.core import ShapeError, add, lift
from upslope.core.tracing import is_our_cell, users_line

NOTEBOOKS = Path(__file__).parents[2]/'nbs'/'01-core'
USERS = "body = nn.Linear(784, 128) >> lift(torch.tanh)\ntry: body >> nn.Linear(64, 10)\nexcept ShapeError as e: print(e)"
WANTED = ("made in a cell, line 1: `body = nn.Linear(784, 128) >> lift(torch.tanh)`", "composed in a cell, line 2: `try: body >> nn.Linear(64, 10)`")

def cells_of_the_library(name):
    "The exported cells of a notebook, up to the first that only a reader needs"
    return [c.source for c in nbformat.read(NOTEBOOKS/f'{name}.ipynb', 4).cells if c.cell_type == 'code' and c.source.startswith('#| export')]

def printed(cells):
    "What the last of these cells prints, in a kernel"
    shell = CaptureShell()
    for source in cells: outputs = shell.run(source)
    assert shell.exc is None, shell.exc
    return ''.join(o.get('text', '') if isinstance(o.get('text', ''), str) else ''.join(o['text']) for o in outputs)

def test_where_the_library_is_written():
    text = printed([*cells_of_the_library('11_functions'), USERS])
    for line in WANTED: assert line in text, text
    assert 'users_line()' not in text and 'Sum()' not in text

def test_where_it_is_imported():
    text = printed(['import torch\nfrom torch import nn\nfrom upslope.core import ShapeError, lift', USERS])
    for line in WANTED: assert line in text, text

def test_a_users_own_exported_cell_is_the_users():
    "Who writes a library of his own in notebooks reads his own line"
    text = printed(['import torch\nfrom torch import nn\nfrom upslope.core import ShapeError, lift', '#| export\ndef mine():\n    lift(nn.Linear(2, 3)) >> nn.Linear(4, 5)', 'try: mine()\nexcept ShapeError as e: print(e)'])
    assert 'composed in a cell, line 3: `lift(nn.Linear(2, 3)) >> nn.Linear(4, 5)`' in text, text

def test_what_the_import_made_has_no_users_line():
    with pytest.raises(ShapeError) as told: lift(nn.Linear(2, 3)) >> add
    assert 'Sum()' not in str(told.value) and 'a cell' not in str(told.value)
    file,_ = users_line()
    assert file == __file__ and not is_our_cell(file)
