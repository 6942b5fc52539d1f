"""The order of hidden units has no meaning: permuting them permutes all that belongs to them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle.reference.tree import map_leaves
from tests.compare import assert_close
from tests.strategies import Problem, problems, specs


class Permutation:
    """Hidden units in another order; those of r too where r is h."""

    def __init__(self, hidden: list[int], projected: bool) -> None:
        self.hidden, self.projected = hidden, projected

    def params(self, params: dict[str, Any]) -> dict[str, Any]:
        return {name: self.param(name, a) for name, a in params.items()}

    def param(self, name, a):
        if name == "V":
            return a[self.hidden]
        a = a[..., self.hidden]
        return self.r(a.T).T if name.startswith("U") else a

    def r(self, a):
        return a if self.projected else a[..., self.hidden]

    def state(self, state):
        return state._replace(h=self.r(state.h), c=state.c[..., self.hidden])

    def dropout(self, dropout):
        if dropout is None:
            return None
        h, zoneout_h = map_leaves(self.r, (dropout.h, dropout.zoneout_h))
        zoneout_c = map_leaves(lambda a: a[..., self.hidden], dropout.zoneout_c)
        return dropout._replace(h=h, zoneout_h=zoneout_h, zoneout_c=zoneout_c)


@given(problems(architecture=specs()), st.randoms(use_true_random=False))
def test_permuting_hidden_units_permutes_outputs_and_gradients(problem: Problem, random):
    order = list(range(problem.architecture.hidden_size))
    random.shuffle(order)
    permutation = Permutation(order, problem.architecture.projection_size is not None)
    permuted = problem.differ(
        params=permutation.params(problem.params),
        state=permutation.state(problem.state),
        dropout=permutation.dropout(problem.dropout),
        d_y=permutation.r(problem.d_y),
        d_state=permutation.state(problem.d_state),
    )
    (got, _), (plain, _) = permuted.forward(), problem.forward()
    assert_close((got.y, got.state), (permutation.r(plain.y), permutation.state(plain.state)))
    got, plain = permuted.backward(), problem.backward()
    assert_close(got.params, permutation.params(plain.params))
    assert_close((got.x, got.state), (plain.x, permutation.state(plain.state)))


@given(problems(architecture=specs()), st.randoms(use_true_random=False))
def test_permuting_inputs_permutes_input_weights_and_their_gradients(problem: Problem, random):
    order = list(range(problem.architecture.input_size))
    random.shuffle(order)

    def permuted_weights(params):
        return {name: a[order] if name.startswith("W") else a for name, a in params.items()}

    dropout = problem.dropout
    permuted = problem.differ(
        params=permuted_weights(problem.params),
        x=problem.x[..., order],
        dropout=dropout and dropout._replace(x=map_leaves(lambda a: a[..., order], dropout.x)),
    )
    assert_close(permuted.forward()[0], problem.forward()[0])
    got, plain = permuted.backward(), problem.backward()
    assert_close(got.params, permuted_weights(plain.params))
    assert_close((got.x, got.state), (plain.x[..., order], plain.state))
