"""What stands out in a set-up and makes no difference: worth a note, and no fault."""

from __future__ import annotations

from collections.abc import Mapping

from lstm_oracle.diagnosis import interventions as iv
from lstm_oracle.diagnosis.experiments import repaired
from lstm_oracle.diagnosis.findings import Evidence, Finding
from lstm_oracle.diagnosis.interventions import Intervention
from lstm_oracle.diagnosis.outcome import Outcome, guessing, score
from lstm_oracle.diagnosis.setup import Setup

STANDS_OUT = 1.5  # of suspicion
MOST = 3  # notes


def without_effect(setup: Setup, suspicion: Mapping[str, float], outcome: Outcome) -> list[Finding]:
    """Notes on the chief suspects in a set-up that trains, each with what undoing it gains.

    The reference has all of these changes made; where it gains nothing, none of them does.
    """
    sound = outcome.gap < outcome.least or outcome.patient
    if outcome.chosen or not sound or score(outcome.user) <= guessing(setup):
        return []
    if _gain(outcome) < -outcome.least:
        return []  # a reference that is behind says nothing of what it changes
    made = [
        change
        for change in repaired(setup, dict(suspicion))[0]
        if suspicion.get(change.key, 0.0) >= STANDS_OUT
    ]
    made.sort(key=lambda change: -suspicion[change.key])
    return [_note(change, setup, outcome) for change in made[:MOST]]


def _gain(outcome: Outcome) -> float:
    return score(outcome.reference) - score(outcome.user)


def _note(change: Intervention, setup: Setup, outcome: Outcome) -> Finding:
    reason = iv.head.head_is_wrong(setup) if change.key == "repair-head" else ""
    told = f"{reason[:1].upper()}{reason[1:]}. " if reason else f"{change.text} "
    gain = _gain(outcome)
    if outcome.patient:
        effect = (
            f"A reference with this change, among others, is ahead by {gain:+.2f} after "
            f"{outcome.steps} updates; in its {setup.total_steps} the set-up gets there as it is."
        )
    else:
        effect = (
            f"The set-up suggests it, and it makes no difference here: a reference with this "
            f"change, among others, gains {gain:+.2f}."
        )
    return Finding(
        change.finding, change.cause, "info", 0.2, told + effect,
        (Evidence("gain of a reference with this change", round(gain, 3),
                  round(outcome.least, 3), "what chance does on so many held-out sequences"),),
        refuted_by="The same pair of trainings, without and with the change, shows a difference.",
    )  # fmt: skip
