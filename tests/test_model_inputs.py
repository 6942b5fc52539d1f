"""What a user feeds to a model is refused before anything runs, with what is wrong and the fix.

Models are plain objects here: nothing of Keras is needed to say what a model takes.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lstm_oracle.conformance.model_inputs import check_inputs

X = np.arange(40.0).reshape(4, 5, 2)


def tensor(*shape, name="x", dtype="float32"):
    return SimpleNamespace(shape=shape, name=name, dtype=dtype)


def model(*inputs, **fields):
    """What a functional model of one layer says of itself, or a model with other fields."""
    own = {"name": "m", "inputs": inputs or (tensor(None, 5, 2),), "layers": []}
    return SimpleNamespace(**own | fields)


def two_inputs(**fields):
    return model(tensor(None, 5, 2, name="left"), tensor(None, 3, name="right"), **fields)


def refused(match, *arguments, error=ValueError, samples=4):
    x, y, weight = (*arguments[1:], None, None)[:3]
    with pytest.raises(error, match=match) as caught:
        check_inputs(arguments[0], x, y, weight, samples)
    assert str(caught.value).endswith(".")


class Embedding:
    """A table that reads an input, as Keras' layer of that name says of itself."""

    def __init__(self, input_dim, read):
        self.input_dim, self.input = input_dim, read


class Dense(Embedding):
    """No table, whatever it has."""


# --- the rows that are used -----------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (3, 3), (4, 4), (9, 4)])
def test_the_first_rows_of_every_array_are_taken(asked, given):
    y, weight = {"a": np.arange(4), "b": [5, 6, 7, 8]}, np.ones(4)
    found = check_inputs(model(), X, y, weight, asked)
    np.testing.assert_array_equal(found.x, X[:given])
    np.testing.assert_array_equal(found.y["a"], np.arange(given))
    np.testing.assert_array_equal(found.y["b"], [5, 6, 7, 8][:given])
    np.testing.assert_array_equal(found.sample_weight, np.ones(given))
    assert found.samples == given


def test_what_is_not_given_is_not_given():
    found = check_inputs(model(), [X], None, None, 2)
    np.testing.assert_array_equal(found.x, X[:2])
    assert (found.y, found.sample_weight) == (None, None)


@pytest.mark.parametrize("samples", [0, -1, True, 2.0, "3"])
def test_a_number_of_samples_that_is_none_is_refused(samples):
    refused("samples is .*, expected a whole number of at least 1", model(), X, samples=samples)


def test_a_dict_of_inputs_comes_in_the_models_order_or_as_the_model_nests_it():
    arrays = {"right": np.ones((4, 3)), "left": X}
    left, right = check_inputs(two_inputs(), arrays, None, None, 2).x
    np.testing.assert_array_equal(left, X[:2])
    np.testing.assert_array_equal(right, np.ones((2, 3)))
    for structure, kind in (({}, dict), ([], list)):
        found = check_inputs(two_inputs(_inputs_struct=structure), arrays, None, None, 2).x
        assert type(found) is kind
    assert check_inputs(model(), {"x": X}, None, None, 2).x.shape == (2, 5, 2)
    refused("x has inputs 'left', expected 'x'", model(), {"left": X})
    refused("expected 'left', 'right'", two_inputs(), {"left": X})


def test_a_model_that_declares_no_inputs_is_given_what_there_is():
    free = model(inputs=None)
    arrays = {"a": X, "b": np.ones((4, 1))}
    assert set(check_inputs(free, arrays, None, None, 1).x) == {"a", "b"}
    assert [a.shape for a in check_inputs(free, [X, X], None, None, 1).x] == [(1, 5, 2)] * 2
    assert check_inputs(free, (X,), None, None, 1).x.shape == (1, 5, 2)
    assert check_inputs(model(inputs=[]), X[..., 0], None, None, 1).x.shape == (1, 5)


def test_another_number_of_arrays_than_of_inputs_is_refused():
    said = r"x has 3 arrays, expected 2, .* 'm': 'left' \(None, 5, 2\), 'right' \(None, 3\)"
    refused(said, two_inputs(), [X, X, X])


# --- arrays ---------------------------------------------------------------------------------------


def test_what_is_no_array_of_real_numbers_is_refused_by_its_name():
    refused("x_1 is ragged", two_inputs(), [X, [[1.0], [1.0, 2.0]]])
    for array in (np.array(["a"] * 4), X + 0j, np.array([None] * 4)):
        refused("x has dtype .*, expected real numbers", model(), array, error=TypeError)
    refused("y_1 has dtype", model(), X, [X, X + 0j], error=TypeError)
    refused(r"y\['b'\] has dtype", model(), X, {"a": X, "b": X + 0j}, error=TypeError)
    refused("sample_weight has dtype", model(), X, None, X + 0j, error=TypeError)
    for shape in ((), (0, 5, 2), (4, 0, 2)):
        refused("with at least one of each", model(), np.ones(shape))


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.bool_])
def test_every_real_dtype_is_taken(dtype):
    assert check_inputs(model(), X.astype(dtype), None, None, 4).x.dtype == dtype


def test_bfloat16_is_taken():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    assert check_inputs(model(), X.astype(bfloat16), None, None, 4).samples == 4


def test_arrays_with_other_numbers_of_rows_are_refused():
    refused("rows: x has 4, y has 3; expected the same", model(), X, np.ones(3))
    refused("x has 4, sample_weight has 5", model(), X, None, np.ones(5))


def test_another_shape_than_the_models_is_refused_with_the_likely_fix():
    shapes = {
        (4, 5): "Add the missing axis",
        (4, 5, 3): "Its last axis holds the features of a step: 3 for 2",
        (4, 6, 2): r"expected \(any, 5, 2\) .* 'x' has it. Reshape it",
        (4, 6, 3): "Reshape it",
        (4, 5, 2, 1): "Reshape it",
        (4,): "Reshape it",
    }
    for shape, fix in shapes.items():
        refused(fix, model(), np.ones(shape))
    refused("Reshape it", model(tensor(None, 3)), np.ones((4, 2)))
    refused("x_1 has shape", two_inputs(), [X, np.ones((4, 2))])


def test_axes_of_any_length_and_batches_of_any_size_are_taken():
    for shape in ((None, None, 2), (8, 5, 2), (None, 5, None)):
        assert check_inputs(model(tensor(*shape)), X, None, None, 4).samples == 4


def with_at(value, *places):
    array = X.copy()
    for place in places:
        array[place] = value
    return array


def test_numbers_that_are_not_finite_are_refused_where_they_are_used():
    said = r"x has 2 NaN among 40 numbers, the first at \(1, 0, 1\)"
    refused(said, model(), with_at(np.nan, (1, 0, 1), (2, 4, 0)))
    refused(r"x has 1 Inf among 40 .* at \(0, 0, 0\)", model(), with_at(-np.inf, (0, 0, 0)))
    both = with_at(np.inf, (3, 4, 1))
    both[2, 0, 0] = np.nan
    refused("x has 2 NaN and Inf", model(), both)
    refused("y has 1 NaN", model(), X, both[:, 0, 0])
    refused("sample_weight has 1 Inf", model(), X, None, both[:, 4, 1])
    assert check_inputs(model(), both, None, None, 2).samples == 2


# --- tokens ---------------------------------------------------------------------------------------


def test_fractions_are_refused_where_the_model_reads_whole_numbers():
    whole = tensor(None, 2, dtype="int32")
    tokens = np.array([[0.0, 6.0], [3.0, 2.0]])
    assert check_inputs(model(whole), tokens, None, None, 2).samples == 2
    refused("float64 with fractions", model(whole), tokens + 0.5, error=TypeError)
    free = tensor(None, 2)
    assert check_inputs(model(free), tokens + 0.5, None, None, 2).samples == 2
    table = [Embedding(7, free)]
    refused("with fractions", model(free, layers=table), tokens + 0.5, error=TypeError)


def test_tokens_outside_of_a_table_are_refused():
    read, other = tensor(None, 2, dtype="int32"), tensor(None, 2, name="other", dtype="int32")
    tokens = np.array([[0, 6], [3, 2]])
    seven = model(read, layers=[Embedding(7, read)])
    assert check_inputs(seven, tokens, None, None, 2).samples == 2
    refused("tokens from 0 to 7, expected 0 to 6", seven, np.array([[0, 7], [3, 2]]))
    refused("tokens from -1 to 6, expected 0 to 6", seven, tokens - [[0, 0], [4, 0]])
    assert check_inputs(seven, np.array([[0, 6], [-1, 9]]), None, None, 1).samples == 1
    several = model(read, layers=[Embedding(9, read), Embedding(5, read), Dense(2, read)])
    refused("expected 0 to 4", several, tokens)
    elsewhere = model(read, other, layers=[Embedding(5, other)])
    assert check_inputs(elsewhere, [tokens, tokens % 5], None, None, 2).samples == 2
    refused("x_1 has tokens", elsewhere, [tokens, tokens])


# --- targets --------------------------------------------------------------------------------------

SPARSE, CATEGORICAL = "sparse_categorical_crossentropy", "categorical_crossentropy"


def classifier(*shape, loss=SPARSE, **fields):
    return model(outputs=[tensor(None, *shape)], loss=loss, **fields)


def taken(with_loss, y):
    return check_inputs(with_loss, X, y, None, 4).samples == 4


def test_another_number_of_targets_than_of_outputs_is_refused():
    refused("y has 2 arrays, expected 1, one per output of model 'm'", classifier(3), X, [X, X])
    assert taken(classifier(3), None)
    assert taken(model(outputs=[]), [X, X])


def test_one_hot_rows_have_the_shape_of_the_output():
    one_hot = np.eye(3)[[0, 2, 1, 1]]
    assert taken(classifier(3, loss=CATEGORICAL), one_hot)
    said = r"y has shape \(4,\), expected \(rows, 3\) one-hot rows"
    refused(said, classifier(3, loss=CATEGORICAL), X, np.arange(4))
    assert taken(classifier(3, loss="mse"), np.arange(4))


def test_class_numbers_stand_one_per_row_or_per_step():
    assert taken(classifier(3), np.array([0, 2, 1, 1]))
    assert taken(classifier(3), np.array([[0], [2], [1], [1]]))
    refused(r"shape \(4, 3\), expected \(rows,\) class numbers", classifier(3), X, np.eye(4, 3))
    steps = np.ones((4, 5), int)
    for T in (5, None):
        assert taken(classifier(T, 3), steps)
        assert taken(classifier(T, 3), steps[..., None])
        refused(r"expected \(rows, (5|any)\)", classifier(T, 3), X, np.ones(4, int))
    refused(r"expected \(rows, 6\)", classifier(6, 3), X, steps)


def test_class_numbers_outside_of_the_classes_are_refused():
    assert taken(classifier(3), np.array([0.0, 2.0, 1.0, 1.0]))
    refused("labels with fractions, expected .* 0 to 2", classifier(3), X, np.arange(4) / 2)
    refused("from 0 to 3, expected 0 to 2: .* 3 classes .*Renumber", classifier(3), X, np.arange(4))
    refused("from -1 to 2, .*Renumber", classifier(3), X, np.arange(4) - 1)
    refused("from 1 to 4, .*Subtract 1", classifier(4), X, np.arange(4) + 1)
    refused("from 1 to 4, .*Renumber", classifier(3), X, np.arange(4) + 1)
    refused("from 2 to 5, .*Renumber", classifier(5), X, np.arange(4) + 2)


class Ignoring:
    """A loss object that leaves a class out."""

    name = "sparse_categorical_crossentropy"

    def get_config(self):
        return {"ignore_class": -1}


def test_an_ignored_class_is_no_class_out_of_range():
    for classes in (1, 3):
        assert taken(classifier(classes, loss=Ignoring()), np.full(4, -1))
    assert taken(classifier(3, loss=Ignoring()), np.array([-1, 0, 1, 2]))
    refused("from 0 to 3", classifier(3, loss=Ignoring()), X, np.array([-1, 0, 1, 3]))


def sparse_categorical_crossentropy(y_true, y_pred):
    """A loss that is a function, which is known by its name."""


@pytest.mark.parametrize(
    "loss",
    [SPARSE, "SparseCategoricalCrossentropy", sparse_categorical_crossentropy, Ignoring(), [SPARSE],
     (SPARSE,), {"out": SPARSE}],
)  # fmt: skip
def test_a_loss_is_known_in_every_spelling(loss):
    refused("expected 0 to 2", classifier(3, loss=loss, output_names=["out"]), X, np.arange(4))


@pytest.mark.parametrize(
    "loss", [None, "mse", [SPARSE, SPARSE], [None], {"elsewhere": SPARSE}, SimpleNamespace()]
)
def test_labels_of_other_losses_are_not_judged(loss):
    assert taken(classifier(3, loss=loss, output_names=["out"]), np.arange(4))


def test_every_output_has_its_own_loss():
    outputs = [tensor(None, 3), tensor(None, 2)]
    both = model(outputs=outputs, loss=["mse", SPARSE])
    assert taken(both, [np.arange(4), np.array([0, 1, 1, 0])])
    refused("y_1 has labels .* expected 0 to 1", both, X, [np.arange(4), np.arange(4)])
    assert taken(model(outputs=outputs, loss=SPARSE), [np.zeros(4), np.ones(4)])
