"Every rule catches its trap and is silent on its healthy twin; decoys raise no alarm; an examination changes nothing"
from contextlib import nullcontext
import pytest
from cases import DECOYS, EXTRA_TRAPS, TRAPS, TWINS
from upslope.inspection import RULES, diagnose

def examine(case, **more):
    arguments = case()
    around = arguments.pop('around', nullcontext())
    with around: return diagnose(**arguments, **more)

def test_every_rule_has_a_trap_and_a_twin():
    assert set(RULES) == set(TRAPS) == set(TWINS)

@pytest.mark.parametrize('name,case', [*TRAPS.items(), *((n, c) for n, cs in EXTRA_TRAPS.items() for c in cs)], ids=lambda o: getattr(o, '__name__', o))
def test_trap(name, case):
    found = examine(case)
    assert name in found, f'{found!r}\nnot checked: {found.skipped}'
    finding = found[name]
    rule, e = finding.rule, finding.evidence
    assert finding.severity in ('error', 'warning', 'note') and rule.cause and rule.remedy and rule.source and e.text and e.numbers
    assert e.bars or e.lines                                  # evidence is shown, too
    assert finding.plot().axes and '<svg' in found._repr_html_() and rule.title in repr(found)
    assert not [why for why in found.skipped.values() if 'the rule itself failed' in why], found.skipped

@pytest.mark.parametrize('name', RULES)
def test_twin(name):
    found = examine(TWINS[name], rules=name)
    assert found.passed == [name], (found, found.skipped)     # checked, and in order: not only left out

@pytest.mark.parametrize('case', {f.__name__: f for f in (*TWINS.values(), *DECOYS.values())}.values(), ids=lambda f: f.__name__)
def test_healthy_and_decoys_raise_no_alarm(case):
    found = examine(case)
    assert not found.alarms, found
    assert not [why for why in found.skipped.values() if 'the rule itself failed' in why], found.skipped

@pytest.mark.parametrize('family, seed, rule', [('regression', 3007, 'lr_too_high'), ('regression', 3013, 'lr_too_high'), ('unequal classes', 3004, 'lr_too_low'), ('decoys', 3005, 'initial_loss')])
def test_healthy_trainings_that_once_raised_a_false_alarm_raise_none(family, seed, rule):
    "One batch that went up by chance, a detour at the start, a new head on a trained body"
    from upslope.inspection.calibration import healthy
    found = diagnose(healthy(family, seed)[0], rules=rule)
    assert not found.alarms and not found.skipped, found

@pytest.mark.parametrize('rule', ['cannot_overfit', 'model_too_small'])
def test_a_network_that_had_no_time_to_learn_is_not_called_unable(rule, monkeypatch):
    "Seed 5006 of the calibration, on a machine with much else to do"
    from upslope.inspection.case import Case
    monkeypatch.setattr(Case, '_affordable', lambda self, steps: None)   # what the clock said before the machine became busy
    subject = TRAPS['model_too_small']() if rule == 'model_too_small' else TWINS['cannot_overfit']()
    found = diagnose(**subject, rules=rule, seconds=1e-9)
    assert not found and 'the time was over' in found.skipped[rule], (found, found.skipped)
