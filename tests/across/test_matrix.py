"""Every form of model with everything that one does with a model: done as the plain loop of PyTorch does it, or refused in words.

A table of the cells: python tests/across/test_matrix.py"""
import inspect, re, sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
import pytest
from actions import ACTIONS, NotMeant
from forms import FORMS
from upslope.core import UpslopeError

PLAIN = 'A plain module cannot be written down'
# What is refused, with which words; a refusal that is not listed is red, and so is a listed cell that works
REFUSED = {
    'saved_and_loaded': dict(own=PLAIN, own_of_two=PLAIN, holding=PLAIN, torch_sequential=PLAIN, lazy=PLAIN, torch_around_layer=PLAIN, layer_around_torch=PLAIN,
                             torch_batchnorm=PLAIN, torch_dropout=PLAIN, keras_style='its class is not known'),
    'weights_into_a_new_model': {form.name: 'cannot take weights yet' for form in FORMS.values() if form.waits and form.name != 'lazy'},   # PyTorch's lazy modules can
    'stressed': dict(graph_of_two='needs the data', own_of_two='needs the data'),   # a data set has one input
}

def outcome(form, action, folder):
    "'done', or the words of a refusal; any other error is the caller's"
    arguments = dict(form=form)
    if 'folder' in inspect.signature(action).parameters: arguments['folder'] = folder
    try: action(**arguments)
    except UpslopeError as e: return str(e)
    except NotMeant: return None
    return 'done'

def cells():
    "The runs of all forms in the lab are one study, made by one process"
    for action in ACTIONS:
        for form in FORMS: yield pytest.param(form, action, marks=[pytest.mark.xdist_group('study_of_forms')] if action == 'study' else [])

@pytest.mark.parametrize('form, action', cells())
def test_cell(form, action, tmp_path):
    what = outcome(FORMS[form], ACTIONS[action], tmp_path)
    if what is None: return
    why = REFUSED.get(action, {}).get(form)
    if why is None: assert what == 'done', what
    else: assert re.search(why, what), what

if __name__ == '__main__':
    import tempfile
    from collections import Counter
    total = Counter()
    wanted = sys.argv[1:]
    for action in ACTIONS:
        if wanted and action not in wanted: continue
        row = []
        for form in FORMS:
            with tempfile.TemporaryDirectory() as folder:
                try: what = outcome(FORMS[form], ACTIONS[action], Path(folder))
                except BaseException as e:
                    if isinstance(e, KeyboardInterrupt) and 'resumed' not in action: raise
                    what = f'RED {type(e).__name__}: {" ".join(str(e).split())[:300]}'
            kind = '-' if what is None else 'done' if what == 'done' else 'RED' if what.startswith('RED') else 'refused'
            total[kind] += 1
            if kind in ('RED', 'refused'): row.append(f'   {kind} {form}: {what[:400]}')
        print(action, '' if row else 'all done', flush=True)
        for line in row: print(line, flush=True)
    print(dict(total))
