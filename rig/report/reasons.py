"""What is wrong with the data, a sentence each; what several views show alike once.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rig.integrity.judgement import Judgement


def wrong_data(views: Iterable[Judgement]) -> list[str]:
    """Return the findings' sentences, in order of the views.

    A medium that is wrong is wrong in the host's eyes, too: of sentences that differ in the view
    alone there is one, which names those views.
    """
    seen_by: dict[str, list[str]] = {}
    for judgement in views:
        for finding in judgement.findings:
            head = f"{finding.view.capitalize()} view, "
            rest = finding.sentence.removeprefix(head)
            names = seen_by.setdefault(rest, [])
            if rest != finding.sentence and finding.view.value not in names:
                names.append(finding.view.value)
    return [_sentence(names, rest) for rest, names in seen_by.items()]


def _sentence(views: Sequence[str], rest: str) -> str:
    if not views:
        return rest
    listed = " and ".join(filter(None, [", ".join(views[:-1]), views[-1]]))
    return f"{listed.capitalize()} view{'s' if len(views) > 1 else ''}, {rest}"
