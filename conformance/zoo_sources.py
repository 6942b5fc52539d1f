"""Where bugs of the zoo were met in public: threads, and what they say is wrong.

A thread stands here only after it was read; the quote is its own words, shortened
or translated. Most bugs are
simple enough to be made again and again: a thread is an example, not the first of its kind.
"""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    """A public thread."""

    thread: str  # "owner/repository#number" on GitHub
    quote: str

    @property
    def url(self) -> str:
        """Its address; GitHub sends a pull request's number on to it."""
        return f"https://github.com/{self.thread.replace('#', '/issues/')}"


_IN_PUBLIC: dict[str, tuple[tuple[str, str], ...]] = {
    "sigmoid-derivative-of-z": (
        ("BoltzmannEntropy/interviews.ai#15", "grad_input = self.x*(1-self.x) * grad"),
    ),
    "tanh-derivative-of-the-value": (
        ("wvabrinskas/Neuron#181", "Activation.derivate on already-activated values"),
    ),
    "derivative-missing-f": (
        ("CaptainE/RNN-LSTM-in-numpy#1", "there needs to be a derivative for the sigmoid function"),
    ),
    "derivative-missing-g": (
        ("llSourcell/LSTM_Networks#4", "dtangent is missing from the derivation. Is that correct?"),
    ),
    "i-and-g-exchanged": (
        ("wvabrinskas/Neuron#181", "for c = f*c_prev + i*g, dc/di is g: was cellError * ia"),
    ),
    "h-for-previous-h": (
        ("wvabrinskas/Neuron#181", "Gate weight gradients: Hidden-state rows used h_t"),
        ("VikParuchuri/zero_to_gpt#9", "shouldn't it be hiddens[0,:]"),
    ),
    "cell-not-squashed": (
        ("nicodjimenez/lstm#47", "You forget the tanh function. h_t = o_t * tanh(s_t)"),
        ("nicodjimenez/lstm#7", "you are omitting to apply tanh() to the new cell state"),
    ),
    "cell-squashed-is-the-previous": (
        ("borelien/entailment-neural-attention-lstm-tf#3", "It should be changed to "
         "h = o*tf.tanh(c)?"),
    ),
    "i-added-to-g": (
        (
            "MartinuzziFrancesco/torchrecurrent#22",
            "torch.sigmoid(input_gate) + torch.tanh(cell_gate) should be a product",
        ),
    ),
    "output-gate-squashed-twice": (
        ("google/e3d_lstm#17", "there's an additional tanh activation on the output gate"),
    ),
    "cut-through-h": (
        ("CaptainE/RNN-LSTM-in-numpy#1", "Missing dh_next and dc_next"),
    ),
    "cut-through-c": (
        ("apache/mxnet#4057", "Especially dCt should += rather than ="),
    ),
    "final-c-cotangent-ignored": (
        ("deeplearning4j/deeplearning4j#8838", "not taking into account gradient contribution from "
         "last cell state"),
        ("PaddlePaddle/Paddle#6970", "the gradient operators set the gradients of cell states to "
         "zero"),
    ),
    "initial-h-ignored": (
        ("neulab/xnmt#223", "this initialization information would be lost forever"),
    ),
    "initial-c-ignored": (
        ("neulab/xnmt#223", "it would not pass in the initialized c and h"),
    ),
    "bias-doubled": (
        ("lisa-lab/DeepLearningTutorials#81", "the bias term in lstm_layer is added twice"),
        ("kelvinxu/arctic-captions#7", "bias term has been added twice in LSTM layer"),
    ),
    "forget-bias-added": (
        ("tensorflow/tensorflow#1326", "LSTMCell always defaults to a forget bias of 1"),
        ("apple/coremltools#309", "TF and coreml give different answers: forget_bias"),
    ),
    "bias-gradient-mean": (
        ("deeplearning4j/deeplearning4j#366", "should do a sum(0), not a mean(0) for biases"),
        ("kvfrans/notes#5", "jnp.mean(d_h2, axis=1) should be jnp.sum(d_h2, axis=1)"),
    ),
    "bias-gradient-of-another-gate": (
        ("hanbt/learn_dl#53", "bi_grad = delta_f_list[t] should be delta_i_list[t]"),
    ),
    "weight-gradient-last-step-only": (
        ("hanbt/learn_dl#30", "the gradients of W are those of the last step, not summed (in "
         "Chinese)"),
    ),
    "bias-of-another-gate": (
        ("ddbourgin/numpy-ml#42", "_Gf = Zt @ Wf + bo: forget and update gate biases have typos"),
    ),
    "u-transposed": (
        ("huggingface/transformers#10712", "the recurrent_kernel parameters need to be transposed, "
         "too"),
    ),
    "gate-order-igfo": (
        ("keras-team/keras#3088", "But i,f,c,o is not the order"),
        ("tensorflow/tensorflow#29622", "the weights loaded correctly, however tests fail to "
         "produce the same result"),
    ),
    "gate-order-ifog": (
        ("apple/coremltools#93", "claims [i, f, z, o], but the code treats it as [i, f, o, z]"),
    ),
    "gate-order-figo": (
        ("NX-AI/xlstm#98", "the input and forget gates are assigned in reversed order"),
        ("ooples/AiDotNet.Tensors#907", "saves the forward gates as f,i,g,o, decodes i,f,g,o"),
    ),
    "mask-ignored": (
        ("ray-project/ray#21392", "the zeroth batch state results from feeding three extra zeros"),
    ),
    "state-not-held": (
        ("deeplearning4j/deeplearning4j#4631", "internal memory will still be updated for masked "
         "timesteps"),
    ),
    "state-zeroed": (
        ("allenai/allennlp#1713", "The final hidden states for shorter sequences are set to 0"),
    ),
    "masked-output-raw": (
        ("microsoft/onnxruntime#1193", "the values between those lengths would be uninitialized"),
    ),
    "masked-output-zero": (
        ("keras-team/keras#17596", "RNN backward layers illegally apply zero_output_for_mask"),
    ),
    "nan-leaks": (
        ("tensorflow/tensorflow#6209", "gradients (NaN) even when loss is computed using only non "
         "NaNs"),
    ),
    "length-zero-gives-zero": (
        ("microsoft/onnxruntime#749", "we zero out the output for entries beyond the sequence "
         "length"),
    ),
    "peepholes-in-onnx-order": (
        ("opencv/opencv#29931", "ONNX stores P as Pi, Po, Pf; the gate loop wants pI, pF, pO"),
    ),
    "output-peephole-after-activation": (
        ("Lasagne/Lasagne#448", "the cell to output gate was being added after the activation "
         "function"),
    ),
    "cell-not-clipped": (
        ("microsoft/onnxruntime#27224", "No clipping before activation in LSTM"),
    ),
    "hard-sigmoid-slope": (
        ("PaddlePaddle/Paddle#44820", "one default slope is 1/6, the other 0.2 (in Chinese)"),
    ),
    "saturation-clamped": (
        ("DrBigMau/LSTM-from-Scratch-in-Python#1", "np.clip(1/(1 + np.exp(-M)), 1e-7, 1 - 1e-7)"),
    ),
    "dropout-of-the-first-gate": (
        ("tensorflow/tensorflow#40215", "inputs * dropout_mask[0]; the recurrent mask is unique "
         "for each"),
    ),
    "dropout-on-x-for-h": (
        ("keras-team/keras#19395", "RNN layers ignore recurrent_dropout parameter"),
    ),
    "reverse-mask-not-flipped": (
        ("keras-team/keras#1934", "the mask in non-reversed order"),
        ("keras-team/keras#3737", "if go_backwards=True, the mask should be reversed in time"),
    ),
    "reverse-over-the-batch": (
        ("tensorflow/tensorflow#39635", "we end up reversing y_rev in batch dimension"),
        ("EderSantana/seya#32", "you're reversing the first (batch) dimension, aren't you?"),
    ),
    "reverse-output-not-flipped": (
        ("keras-team/keras#1431", "outputs don't have sequential correspondence with their inputs"),
        ("sbillburg/CRNN-with-STN#12", "you have to reverse the output of LSTM before adding"),
    ),
    "reverse-output-flipped-twice": (
        ("microsoft/onnxruntime#4187", "outputs are just reverse to each other"),
        ("PINTO0309/onnx2tf#287", "inverted on the axis of the sequence when direction == reverse"),
    ),
    "final-state-of-one-direction": (
        ("tflearn/tflearn#522", "was returning (o, states_fw, states_fw)"),
    ),
    "chunks-start-anew": (
        ("IDSIA/brainstorm#73", "That will loose the internal state between chunks"),
    ),
    "tensor-float-32": (
        ("microsoft/onnxruntime#20338", "RNN check if tf32 is allowed: respect the use_tf32 flag"),
    ),
    "gradients-clipped": (
        ("junhyukoh/caffe-lstm#18", "Clip deriviates before nonlinearity (in backward)"),
    ),
    "one-sequence-squeezed": (
        ("rasbt/stat453-deep-learning-ss21#5", "it computes a single sum over all biases"),
    ),
    "silently-float32": (
        ("keras-team/keras#15791", "in reality, only 32 bit precision is achieved"),
    ),
}  # fmt: skip

SOURCES: dict[str, tuple[Source, ...]] = {
    bug: tuple(Source(*row) for row in rows) for bug, rows in _IN_PUBLIC.items()
}
