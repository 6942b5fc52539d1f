"""A training, watched from inside: gates, gradients through time, updates, early warnings."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis import early
from lstm_oracle.diagnosis.early import LayerSample, Sample
from lstm_oracle.diagnosis.findings import Diagnosis, Figure, Finding
from lstm_oracle.diagnosis.internals import EPSILON, look_inside
from lstm_oracle.keras_impl.recurrent_layers import recurrent_layers, to_numpy, walk
from lstm_oracle.keras_impl.watch import Glance, Watch

Array = np.ndarray

SHARE = 0.03  # of the training's time that samples may take, where `every` is not given
SAMPLES = 16
# Seconds of a processor that the first look is expected to take, for it is compiled: measured on
# two cores for one to three layers. Later looks are expected to cost what the last one did.
_FIRST = {"tensorflow": 2.0, "jax": 3.0, "torch": 0.5}
_ORDER = {"error": 0, "warning": 1, "info": 2}


class Monitor(keras.callbacks.Callback):
    """A callback that looks into every LSTM while it trains; `fit(callbacks=[Monitor(x, y)])`.

    At some batches it runs the model once more, on a few fixed sequences and without dropout, and
    puts into `logs`, for History, CSVLogger, TensorBoard and the like (put it first in the list of
    callbacks):

    - `<layer>/saturated_i`, `_f`, `_o`: share of steps and units at which the gate is below 0.05 or
      above 0.95; `<layer>/saturated_c`: at which the squashed cell state is beyond 0.95;
    - `<layer>/gradient`: norm of the gradient of the layer's weights; `gradient`: of all weights;
      `gradient_over_median`: of all weights, over its median so far;
    - `<layer>/reach`: the longest lag whose gradient float32 still adds, of `<layer>/lags`;
    - `<layer>/update`: norm of one update over the norm of the weights.

    It warns once per finding, with the id that `lstm-oracle explain` takes. The model, its
    optimizer, all random states and the compiled training step stay as they are: the training
    goes as it would go without it.

    Parameters
    ----------
    x, y, sample_weight
        Some of the training data, as for `fit`: arrays, or lists or dicts of arrays.
    every : int, optional
        Look at every so many batches. By default as often as keeps the cost below 3 % of the
        training's time so far; a training of a few seconds then sees one look, at its end, when
        `report` is called.
    samples : int
        Sequences to look at: the first ones of x.
    stop_lost : bool
        Whether to stop a training that is lost: a loss that is not finite, or weights that do not
        move any more.
    loss : str or callable, optional
        Of a model that is not compiled, in a training loop of its own.
    verbose : bool
        Whether to print warnings as they come.

    Attributes
    ----------
    samples_taken : list of Sample
        All that was measured, the oldest first.
    findings : list of Finding
        What was found, the gravest first.
    lost : bool
        Whether the training is beyond recovery.

    Notes
    -----
    On JAX a look forces Keras to hand the training state back to the model, which is why not
    every batch is looked at. With `steps_per_execution` an update is one execution.

    Examples
    --------
    >>> model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4, name="encoder")])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.ones((8, 5, 3), "float32"), np.ones((8, 4), "float32")
    >>> monitor = Monitor(x, y, every=2)
    >>> history = model.fit(x, y, batch_size=2, verbose=0, callbacks=[monitor])
    >>> [sample.step for sample in monitor.samples_taken], "encoder/saturated_f" in history.history
    ([0, 2], True)
    """

    # The end of a batch only reads its loss: Keras may run that beside the next batch.
    async_safe = True

    def __init__(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        every: int | None = None,
        samples: int = SAMPLES,
        stop_lost: bool = False,
        loss: Any = None,
        verbose: bool = True,
    ) -> None:
        """Keep the sequences; nothing is run yet."""
        super().__init__()
        _check(x, y, every, samples)
        batch = (_first(data, samples) for data in (x, y, sample_weight))
        self._x, self._y, self._sample_weight = batch
        self.every, self.stop_lost, self.verbose = every, stop_lost, verbose
        self.samples_taken: list[Sample] = []
        self.findings: list[Finding] = []
        self.lost = False
        self.failure = ""  # why no sample can be taken
        self._loss = loss
        self._watch: Watch | None = None
        self._groups: dict[str, list[int]] = {}
        self._values: dict[str, float] = {}
        self._pending: list[Array] | None = None
        self._bad_loss = False
        self._begun = False
        self._steps = 0
        self._next = 0
        self._spent = 0.0
        self._cost = _FIRST[keras.backend.backend()]
        self._elapsed = 0.0
        self._began: float | None = None
        self._cpu_began = 0.0
        self._last_loss: Any = None

    # fit

    def on_train_begin(self, logs: Any = None) -> None:
        """Start the clock."""
        self._start_clock()
        self._begun = False

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Between two updates, where the weights can be read."""
        if self._begun:
            self._steps += getattr(self._model, "steps_per_execution", 1) or 1
        self._begun = True
        self._between_updates()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Read the loss, hand the values on. Runs in a thread of its own where Keras allows it."""
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            self._bad_loss = True
        if logs is not None:
            logs.update(self._values)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Finish what is pending, and hand the last values on."""
        if self._pending is not None:
            self._guarded(self._finish)
        if logs is not None:
            self._names_before_values()
            logs.update(self._values)
            self._check_loss(logs.get("loss", 0.0))

    def on_train_end(self, logs: Any = None) -> None:
        """Stop the clock."""
        if self._began is not None:
            self._elapsed += time.perf_counter() - self._began
            self._began = None
        self._steps += 1 if self._begun else 0
        self._begun = False

    # a training loop of one's own

    def step(
        self, model: keras.Model, loss: Any = None, gradients: Any = None, weights: Any = None
    ) -> dict[str, float]:
        """One call per update, after it; gives the values that `fit` would find in its logs.

        Parameters
        ----------
        model : keras.Model
            In training; compiled, or the monitor has been given a `loss`.
        loss : number or tensor, optional
            Of the batch. It is read at the next call, so that no accelerator has to wait.
        gradients : sequence of tensors, optional
            Of `model.trainable_variables`, as applied: their norms then stand in the place of those
            on the monitor's own sequences.
        weights : sequence of tensors, optional
            Values of `model.trainable_variables`, where the loop holds them itself (JAX).
        """
        if self._began is None:
            self._start_clock()
        self.set_model(model)
        if self._last_loss is not None:
            self._check_loss(float(to_numpy(keras.ops.convert_to_tensor(self._last_loss))))
        self._last_loss = loss
        self._steps += 1
        self._between_updates(gradients, weights)
        return dict(self._values)

    # looking

    def _between_updates(self, gradients: Any = None, weights: Any = None) -> None:
        if self._bad_loss:
            self._check_loss(float("nan"))
        if self.failure or not (self._pending is not None or self._due()):
            return
        began = time.perf_counter()
        if self._pending is not None:
            self._guarded(self._finish, weights)
        if self._due():
            self._guarded(self._look, gradients, weights)
            self._cost = time.perf_counter() - began
            if len(self.samples_taken) == 1:
                self._cost *= 0.2  # without compiling; the next one tells
        self._spent += time.perf_counter() - began

    def _due(self) -> bool:
        if not self._model.built:  # a model that the first batch builds
            return False
        if self.every is not None:
            return self._steps >= self._next
        running = time.perf_counter() - (self._began or 0.0)
        cost = self._cost
        if not self.samples_taken:
            # A second of a processor is longer on a machine that has others to serve.
            cost *= max(1.0, running / max(time.process_time() - self._cpu_began, 1e-3))
        return self._spent + cost <= SHARE * (self._elapsed + running - self._spent)

    def _start_clock(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def _guarded(self, function: Any, *arguments: Any) -> None:
        """A model that cannot be looked into trains on, and is said not to be looked into."""
        try:
            function(*arguments)
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            self.failure = f"{type(error).__name__}: {first[:200]}"
            self._pending = None
            self._say(f"cannot look into this model any more ({self.failure})")

    def _look(self, gradients: Any = None, weights: Any = None) -> None:
        self._next = self._steps + (self.every or 1)
        model = self.model  # on JAX this hands the state back to the model
        if self._watch is None or self._watch.model is not model:
            self._watch = Watch(model, self._x, self._y, self._sample_weight, loss=self._loss)
            self._groups = _groups(model)
        glance = self._watch(weights)
        norms = _norms(gradients) if gradients is not None else _norms(glance.gradients)
        self.samples_taken.append(_sample(self._steps, glance, norms, self._groups))
        self._values = self._log_values()
        self._judge()
        self._pending = self._weights(weights)

    def _finish(self, weights: Any = None) -> None:
        """One update later: how far it went."""
        before, self._pending = self._pending, None
        if before is None:
            return
        after = self._weights(weights)
        sample = self.samples_taken[-1]
        sample.updates = {
            name: _ratio([before[n] for n in rows], [after[n] for n in rows])
            for name, rows in self._groups.items()
        }
        self._values = self._log_values()
        self._judge()

    def _weights(self, given: Any) -> list[Array]:
        values = self.model.trainable_variables if given is None else given
        # Copies: on JAX an array may be a view of memory that the next update takes.
        return [np.array(to_numpy(value)) for value in values]

    # judging

    def _judge(self) -> None:
        for finding in early.findings(self.samples_taken):
            self._add(finding)
        finite = all(np.isfinite(n) for n in self.samples_taken[-1].gradients.values())
        if not finite:
            self._not_finite("the gradient")
        if early.lost(self.samples_taken):
            self._stop("its weights do not move any more")

    def _check_loss(self, loss: Any) -> None:
        if not np.isfinite(loss):
            self._bad_loss = False
            self._not_finite("the loss")

    def _not_finite(self, what: str) -> None:
        if self.lost:
            return
        finite = all(_finite(data) for data in (self._x, self._y))
        self._add(early.not_finite(what, self._steps, self.samples_taken, inputs_finite=finite))
        self._stop(f"{what} is not finite")

    def _stop(self, reason: str) -> None:
        if self.lost:
            return
        self.lost = True
        if self.stop_lost and self._model is not None:
            self._say(f"stopping, the training is lost: {reason}")
            self._model.stop_training = True

    def _add(self, finding: Finding) -> None:
        if any((f.id, f.layer) == (finding.id, finding.layer) for f in self.findings):
            return
        self.findings.append(finding)
        self.findings.sort(key=lambda f: _ORDER[f.severity])
        self._say(f"{finding.severity} {finding.id} after {self._steps} updates: {finding.summary}")

    def _say(self, message: str) -> None:
        if self.verbose:
            print(f"\nMonitor: {message}", flush=True)

    # what is handed on

    def _log_values(self) -> dict[str, float]:
        last = self.samples_taken[-1]
        norms = [sample.gradient for sample in self.samples_taken]
        values = {
            "gradient": last.gradient,
            "gradient_over_median": last.gradient / (float(np.median(norms)) or 1.0),
        }
        for name, layer in last.layers.items():
            values |= {f"{name}/saturated_{gate}": layer.saturation[gate] for gate in "ifoc"}
            values[f"{name}/reach"] = float(layer.reach)
            values[f"{name}/lags"] = float(max(len(layer.by_lag) - 1, 0))
        for name, norm in last.gradients.items():
            values[f"{name}/gradient"] = norm
        done = [sample.updates for sample in self.samples_taken if sample.updates]
        for name in last.gradients:
            values[f"{name}/update"] = done[-1][name] if done else float("nan")
        return values

    def _names_before_values(self) -> None:
        """NaN for what was not measured yet: CSVLogger fixes its columns after the first epoch."""
        if self._values or self.failure or not self._model.built:
            return
        names = [_layer_name(found.path) for found in recurrent_layers(self._model)]
        keys = [f"{name}/saturated_{gate}" for name in names for gate in "ifoc"]
        keys += [f"{name}/{part}" for name in names for part in ("reach", "lags")]
        groups = _groups(self._model)
        keys += [f"{name}/{part}" for part in ("gradient", "update") for name in groups]
        keys += ["gradient", "gradient_over_median"]
        self._values = dict.fromkeys(keys, float("nan"))

    def diagnosis(self) -> Diagnosis:
        """All that was found, for `to_html` and the like; looks once where nothing was measured."""
        if not self.samples_taken and not self.failure and self._model is not None:
            self._guarded(self._look)
            self._pending = None
        samples = self.samples_taken
        return Diagnosis(
            tuple(self.findings),
            self._verdict(),
            facts={
                "samples": len(samples),
                "updates": self._steps,
                **({"cannot look": self.failure} if self.failure else {}),
                **{k: round(v, 6) for k, v in self._values.items()},
            },
            figures=_figures(samples),
            seconds={"training": self._elapsed, "of which the monitor": self._spent},
        )

    def report(self) -> str:
        """The diagnosis as text."""
        return str(self.diagnosis())

    def _verdict(self) -> str:
        grave = [f for f in self.findings if f.severity in ("error", "warning")]
        if grave:
            return f"{grave[0].cause}: {grave[0].summary}"
        if not self.samples_taken:
            return f"Nothing could be measured. {self.failure}".strip()
        return f"Nothing alarming in {len(self.samples_taken)} looks over {self._steps} updates."


# --- one sample -----------------------------------------------------------------------------------


def _sample(step: int, glance: Glance, norms: list[float], groups: dict[str, list[int]]) -> Sample:
    layers: dict[str, LayerSample] = {}
    for call in glance.captures:
        for scan in look_inside(call):
            share = scan.saturation()
            shut = any(share[gate] >= early.SHUT for gate in ("i_closed", "o_closed", "c"))
            flow = scan.flow
            layers[_layer_name(scan.path)] = LayerSample(
                saturation=share,
                saturation_if_standardized=_if_standardized(call, scan.path) if shut else None,
                time_constant=float(np.median(scan.time_constants())),
                by_lag=flow.total,
                contribution=flow.contribution,
                reach=flow.reach,
                exponent=flow.exponent,
            )
    return Sample(
        step,
        glance.loss,
        layers,
        {name: float(np.linalg.norm([norms[n] for n in rows])) for name, rows in groups.items()},
    )


def _if_standardized(call: Any, path: str) -> dict[str, float]:
    """Saturation of the same layer with each input feature at mean 0 and deviation 1."""
    real = np.ones(call.x.shape[:2], bool) if call.mask is None else call.mask
    rows = call.x[real].astype(np.float64)
    x = (call.x - rows.mean(axis=0)) / (rows.std(axis=0) + EPSILON)
    scans = look_inside(dataclasses.replace(call, x=x))
    return next(scan.saturation() for scan in scans if scan.path == path)


def _layer_name(path: str) -> str:
    """Without the model's own name in front."""
    return path.split("/", 1)[-1]


def _groups(model: Any) -> dict[str, list[int]]:
    """Name of every layer with trainable weights to their places in `trainable_variables`."""
    owner: dict[int, str] = {}
    for found in recurrent_layers(model):  # as one layer, whatever cells are in it
        for variable in found.layer.trainable_variables:
            owner.setdefault(id(variable), _layer_name(found.path))
    inner: dict[int, str] = {}
    for found in walk(model):  # the innermost layer comes last
        inner |= dict.fromkeys(map(id, found.layer.trainable_variables), _layer_name(found.path))
    groups: dict[str, list[int]] = {}
    for n, variable in enumerate(model.trainable_variables):
        name = owner.get(id(variable)) or inner[id(variable)]
        groups.setdefault(name, []).append(n)
    return groups


def _norms(gradients: Sequence[Any]) -> list[float]:
    """Norm of each gradient; a variable without one has 0."""
    return [
        0.0 if d is None else float(np.linalg.norm(np.asarray(_dense(d), np.float64)))
        for d in gradients
    ]


def _dense(gradient: Any) -> Array:
    return (
        gradient
        if isinstance(gradient, np.ndarray)
        else to_numpy(keras.ops.convert_to_tensor(gradient))
    )


def _ratio(before: list[Array], after: list[Array]) -> float:
    change = sum(
        float(np.square(a.astype(np.float64) - b).sum()) for a, b in zip(after, before, strict=True)
    )
    size = sum(float(np.square(b.astype(np.float64)).sum()) for b in before)
    return float(np.sqrt(change / size)) if size else float("inf" if change else 0.0)


# --- pictures -------------------------------------------------------------------------------------


def _figures(samples: list[Sample]) -> tuple[Figure, ...]:
    if not samples:
        return ()
    return (*_over_time(samples), *_by_lag(samples))


def _over_time(samples: list[Sample]) -> list[Figure]:
    steps = [sample.step for sample in samples]
    norms = {
        name: {"x": steps, "y": [sample.gradients.get(name, float("nan")) for sample in samples]}
        for name in samples[-1].gradients
    }
    shares = {
        f"{name}: {gate}": {
            "x": steps,
            "y": [s.layers[name].saturation[gate] if name in s.layers else float("nan")
                  for s in samples],
        }
        for name in samples[-1].layers
        for gate in "ifoc"
    }  # fmt: skip
    moved = [sample for sample in samples if sample.updates]
    updates = {
        name: {"x": [s.step for s in moved], "y": [s.updates[name] for s in moved]}
        for name in (moved[-1].updates if moved else ())
    }
    figures = [
        Figure("curves", "Gradient norm per layer", "updates", "norm", norms, log_y=True),
        Figure("curves", "Saturated share of gates and cell states", "updates", "share", shares),
        Figure("curves", "One update over the weights", "updates", "ratio", updates, log_y=True),
    ]
    return [figure for figure in figures if figure.series]


def _by_lag(samples: list[Sample]) -> list[Figure]:
    figures = []
    for name in samples[-1].layers:
        series = {
            f"after {sample.step} updates": {"y": sample.layers[name].by_lag.tolist()}
            for sample in (samples[0], samples[-1])
            if name in sample.layers
        }
        figures.append(
            Figure("curves", f"Gradient through time in {name}", "lag (steps back)",
                   "size of dL/d(h, c)", series, log_y=True)
        )  # fmt: skip
    return figures


# --- what was passed ------------------------------------------------------------------------------


def _check(x: Any, y: Any, every: Any, samples: Any) -> None:
    for name, number in (("every", every), ("samples", samples)):
        if number is not None and (not isinstance(number, (int, np.integer)) or number < 1):
            raise ValueError(
                f"Monitor: {name} is {number!r}, expected a whole number from 1 up. "
                f"Pass for example {name}=100, or leave it out."
            )
    for name, data in (("x", x), ("y", y)):
        arrays = keras.tree.flatten(data)
        if not arrays or any(not hasattr(a, "shape") or len(a.shape) == 0 for a in arrays):
            raise ValueError(
                f"Monitor: {name} is {type(data).__name__}, expected arrays of some training "
                "sequences. Pass a few as NumPy arrays: Monitor(x_train[:32], y_train[:32])."
            )
    lengths = {int(a.shape[0]) for a in keras.tree.flatten((x, y))}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"Monitor: x and y hold {', '.join(map(str, sorted(lengths)))} sequences, expected "
            "the same number, and at least one. Cut them alike."
        )


def _first(data: Any, samples: int) -> Any:
    if data is None:
        return None
    # Copies: what the user does to the arrays later must not reach the fixed sequences.
    return keras.tree.map_structure(lambda a: np.array(to_numpy(a[:samples])), data)


def _finite(data: Any) -> bool:
    return all(np.isfinite(a).all() for a in keras.tree.flatten(data) if a.dtype.kind in "fc")
