"""What counts of a picture, of whom and in which round, is what a slow fold over the lines finds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsfast.errors import NsfastError
from nsfast.labels.decisions import Decisions, History, Verdict

PEOPLE, PICTURES = ("", "ann", "bob"), ("a", "b", "c")


def say(text, who="ann", round=None, was=None):
    """The verdict of "accept a", "relabel a cat", "undo", ..."""
    action, *rest = text.split()
    name, to = (*rest, None, None)[:2]
    return Verdict(name, action, to, was, who=who, round=round)


def fold(verdicts, round=None):
    history = History(round)
    for verdict in verdicts:
        history.add(verdict)
    return Decisions.of(history, "somewhere")


def slowly(verdicts, round):
    """All actions are kept, and looked through from the end for every question."""
    actions = []
    for verdict in verdicts:
        if verdict.action != "undo":
            actions.append(verdict)
            continue
        for place in reversed(range(len(actions))):
            action = actions[place]
            mine = action.who == verdict.who and verdict.id in (None, action.id)
            if mine and (verdict.round is None or action.round is None or action.round <= verdict.round):
                del actions[place]
                break
        else:
            return None
    held = [action for action in actions if round is None or action.round is None or action.round <= round]
    counts, conflicts = {}, {}
    for name in {action.id for action in held}:
        of = [action for action in held if action.id == name]
        last = [
            action
            for place, action in enumerate(of)
            if action.who not in [later.who for later in of[place + 1 :]]
        ]
        counts[name] = of[-1]
        kinds = {"reject" if action.action == "reject" else (action.to or action.was) for action in last}
        if len(kinds) > 1:
            conflicts[name] = tuple(last)
    return counts, conflicts, len(actions) - len(held)


STEPS = st.builds(
    lambda id, action, was, who, round: Verdict(id, action, None, was, who=who, round=round),
    id=st.sampled_from(PICTURES),
    action=st.sampled_from(["accept", "reject", "relabel", "undo", "undo"]),
    was=st.sampled_from(["ant", "bee"]),
    who=st.sampled_from(PEOPLE),
    round=st.sampled_from([None, 1, 2, 3]),
)


@st.composite
def histories(draw):
    """Mostly valid ones: an undo that would take nothing back is left out, most of the time."""
    steps, strict = [], draw(st.integers(0, 9)) > 0
    for step in draw(st.lists(STEPS, max_size=16)):
        if step.action == "relabel":
            step = step._replace(to=draw(st.sampled_from(["ant", "bee"])))
        if step.action == "undo" and draw(st.booleans()):
            step = step._replace(id=None)
        if not strict or slowly([*steps, step], None) is not None:
            steps.append(step)
    return steps


@settings(max_examples=150, deadline=None)
@given(histories(), st.sampled_from([None, 1, 2, 3]))
def test_any_history_of_several_people_and_rounds_equals_a_slow_fold(steps, round):
    expected = slowly(steps, round)
    if expected is None:
        with pytest.raises(NsfastError, match="there is no action"):
            fold(steps, round)
        return
    found = fold(steps, round)
    assert (found.verdicts, found.conflicts, found.later) == expected
    counted = [next(i for i, s in enumerate(steps) if s is verdict) for verdict in found.verdicts.values()]
    assert counted == sorted(counted)  # the newest is last
    names = [*found.accepted, *found.rejected, *found.relabeled]
    assert sorted(names) == sorted(found.verdicts) and len(found) == len(names)


@settings(max_examples=60, deadline=None)
@given(histories(), st.sampled_from(PEOPLE))
def test_nothing_that_others_do_takes_back_what_a_person_did(steps, who):
    """The last word of each person is the same as in a file where that person is alone."""
    if slowly(steps, None) is None:
        return
    alone = fold([step for step in steps if step.who == who])
    together = fold(steps)
    for name, verdict in alone.verdicts.items():
        assert verdict in together.conflicts.get(name, (verdict,))
    said = {v for name in together.verdicts for v in together.conflicts.get(name, (together.verdicts[name],))}
    assert {v for v in said if v.who == who} <= {*alone.verdicts.values()}


def test_an_undo_is_of_the_person_who_undoes():
    both = [say("reject a", "ann"), say("accept b", "bob"), say("accept a", "bob")]
    assert fold([*both, say("undo", "ann")]).accepted == {"a", "b"}
    assert fold([*both, say("undo a", "bob")]).rejected == {"a"}
    with pytest.raises(NsfastError, match="no action by 'ann' on 'b'"):
        fold([*both, say("undo b", "ann")])
    with pytest.raises(NsfastError, match="no action by 'cem' to take back"):
        fold([*both, say("undo", "cem")])


def test_a_decision_holds_from_its_round_on_and_what_it_replaced_before():
    steps = [say("accept a", round=1), say("reject a", round=3), say("reject b")]
    assert [sorted(fold(steps, r).rejected) for r in (1, 2, 3, 9)] == [["b"], ["b"], ["a", "b"], ["a", "b"]]
    assert [sorted(fold(steps, r).accepted) for r in (0, 1, 2, 3)] == [[], ["a"], ["a"], []]
    assert [fold(steps, r).later for r in (0, 1, 3)] == [2, 1, 0]


def test_an_undo_in_a_round_takes_back_what_is_seen_there():
    steps = [say("accept a", round=1), say("reject a", round=3), say("undo", round=2)]
    assert not len(fold(steps, 2)) and fold(steps, 3).rejected == {"a"}


def test_people_differ_when_it_makes_a_difference():
    agree = [say("accept a", "ann", was="cat"), say("relabel a cat", "bob", was="dog")]
    assert not fold(agree).conflicts
    differ = fold([say("accept a", "ann", was="cat"), say("accept a", "bob", was="dog")])
    assert [v.who for v in differ.conflicts["a"]] == ["ann", "bob"] and differ.verdicts["a"].was == "dog"
    assert differ.disagreement("a") == "'a': 'ann' accept 'cat', 'bob' accept 'dog'"
    three = fold(
        [say("reject a", "ann"), say("relabel a x", "bob"), say("reject a", "cem"), say("accept a", "ann")]
    )
    assert [v.who for v in three.conflicts["a"]] == ["bob", "cem", "ann"] and three.accepted == {"a"}
    changed_her_mind = fold([say("reject a"), say("accept a")])
    assert not changed_her_mind.conflicts


def test_who_accepted_a_label_did_not_accept_the_one_that_came_after_it():
    found = fold(
        [say("accept a", was="cat"), say("accept b", was="cat"), say("accept c"), say("reject d", was="x")]
    )
    later = found.carried_to({"a": "dog", "b": "cat", "c": "dog", "d": "y"})
    assert later.accepted == {"b", "c"} and later.relabeled == {"a": "cat"} and later.rejected == {"d"}
    assert [row["to"] for row in later.rows()] == ["cat", None, None, None] and later.rows()[0][
        "action"
    ] == "accept"
    assert found.carried_to({}).accepted == {"a", "b", "c"}
