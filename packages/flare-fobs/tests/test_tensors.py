from __future__ import annotations

import warnings

import ml_dtypes
import numpy as np
import pytest
from strategies import same

from flare_core.model import FLModel
from flare_core.task import Task
from flare_fobs import DecodeError, EncodeError, dump_frames, dumps, load_frames, loads, to_numpy, to_torch

torch = pytest.importorskip("torch")

DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "bfloat16", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
]
SHAPES = [(), (0,), (0, 3), (7,), (40, 60)]


def tensor_of(name, shape):
    """A tensor of arbitrary bits: NaN with payload, -0.0, infinities and subnormals among them."""
    dtype = getattr(torch, name)
    count = int(np.prod(shape)) * torch.empty(0, dtype=dtype).element_size()
    bits = np.random.default_rng(13).integers(0, 2 if name == "bool" else 256, count, dtype=np.uint8)
    return torch.from_numpy(bits).view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def assert_same(arrived, tensor):
    assert type(arrived) is torch.Tensor
    assert (arrived.dtype, arrived.shape) == (tensor.dtype, tensor.shape)
    assert bits(arrived) == bits(tensor)
    assert not arrived.requires_grad


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DTYPES)
def test_c13_every_dtype_arrives_bit_for_bit(name, shape):
    tensor = tensor_of(name, shape)
    for arrived in (loads(dumps({"w": tensor})), load_frames(dump_frames({"w": tensor}))):
        assert_same(arrived["w"], tensor)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DTYPES)
def test_to_numpy_and_to_torch_share_memory_and_keep_every_bit(name, shape):
    tensor = tensor_of(name, shape)
    array = to_numpy(tensor, key="w")
    back = to_torch(array)
    assert array.dtype.name == name
    assert array.shape == tuple(shape)
    assert array.tobytes() == bits(tensor)
    assert_same(back, tensor)
    if tensor.numel():
        assert array.__array_interface__["data"][0] == back.data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize(
    ("kind", "tensor"),
    [
        ("transposed", torch.arange(24).reshape(4, 6).t()),
        ("channels last", torch.randn(8, 3, 13, 13).contiguous(memory_format=torch.channels_last)),
        ("expanded", torch.ones(1, 4).expand(3000, 4)),
        ("strided", torch.arange(9000)[::2]),
        ("offset", torch.arange(9000)[1000:]),
        ("conjugate", torch.randn(3, dtype=torch.complex64).conj()),
        ("negative view", torch.randn(3, dtype=torch.complex64).conj().imag),
        ("bfloat16 columns", torch.randn(3000, 4).bfloat16()[:, 1:3]),
        ("scalar of an expansion", torch.ones(1).expand(5)[3]),
    ],
)
def test_c12_tensors_of_any_memory_layout_arrive_with_their_values(kind, tensor):
    strides = tensor.stride()
    plain = tensor.resolve_conj().resolve_neg()
    for arrived in (loads(dumps([tensor])), load_frames(dump_frames([tensor]))):
        assert_same(arrived[0], plain)
    assert to_numpy(tensor, key="w").tobytes() == bits(plain)
    assert tensor.stride() == strides


def test_c12_a_parameter_arrives_as_a_tensor_without_its_gradient():
    parameter = torch.nn.Parameter(torch.randn(50, 50))
    (parameter * 2).sum().backward()
    assert_same(loads(dumps(parameter)), parameter)
    assert parameter.requires_grad
    assert parameter.grad is not None


def test_c02_scalar_tensors_keep_their_empty_shape():
    state = {"logit_scale": torch.tensor(2.0), "n": torch.tensor(3), "flag": torch.tensor(True), "w": torch.ones(3)}
    arrived = loads(dumps(Task("train", FLModel(params=state)))).model.params
    assert {key: value.shape for key, value in arrived.items()} == {key: value.shape for key, value in state.items()}
    assert arrived["flag"].dtype is torch.bool


def test_c11_tied_weights_both_arrive():
    embedding = torch.nn.Embedding(50, 80)
    head = torch.nn.Linear(80, 50, bias=False)
    head.weight = embedding.weight
    arrived = loads(dumps({"emb.weight": embedding.weight, "head.weight": head.weight}))
    assert_same(arrived["emb.weight"], embedding.weight)
    assert_same(arrived["head.weight"], embedding.weight)


def test_a_state_dict_travels_as_it_is():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    arrived = loads(dumps(module.state_dict()))
    module.load_state_dict(arrived, strict=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frame_is_the_memory_of_the_tensor(dtype):
    tensor = torch.zeros(5000, dtype=dtype)
    _, frame = dump_frames(tensor)
    assert np.frombuffer(frame, np.uint8).__array_interface__["data"][0] == tensor.data_ptr()


@pytest.mark.parametrize("size", [3, 5000])
def test_a_loaded_tensor_owns_its_memory(size):
    frames = [bytearray(frame) for frame in dump_frames(torch.zeros(size))]
    tensor = load_frames(frames)
    for frame in frames[1:]:
        frame[:] = b"\xff" * len(frame)
    tensor += 1
    assert tensor.sum() == size


def test_tensors_are_made_on_the_cpu_whatever_the_default_device():
    with torch.device("meta"):
        arrived = loads(dumps(torch.ones(3, device="cpu")))
    assert_same(arrived, torch.ones(3))


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


def nested():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.ones(2)])


def half_complex():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.empty(2, dtype=torch.complex32)


@pytest.mark.parametrize(
    ("make", "dtype", "remedy"),
    [
        (lambda: torch.empty(3, device="meta"), "torch.float32", "materialize the module"),
        (lambda: torch.eye(3).to_sparse(), "torch.float32", "to_dense()"),
        (lambda: torch.eye(3).to_sparse_csr(), "torch.float32", "to_dense()"),
        (quantized, "torch.qint8", "dequantize()"),
        (nested, "torch.float32", "unbind()"),
        (half_complex, "torch.complex32", "another dtype"),
        (lambda: torch.empty(2, dtype=torch.float4_e2m1fn_x2), "torch.float4_e2m1fn_x2", "another dtype"),
    ],
    ids=["meta", "sparse", "csr", "quantized", "nested", "complex32", "float4"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_a_tensor_that_cannot_travel_is_refused_by_path_dtype_and_remedy(make, dtype, remedy):
    tensor = make()
    with pytest.raises(EncodeError) as caught:
        dumps(FLModel(params={"layer.0": tensor}))
    with pytest.raises(EncodeError) as caught_by_key:
        to_numpy(tensor, key="layer.0")
    assert str(caught.value).startswith("params['layer.0']: ")
    assert str(caught_by_key.value).startswith("'layer.0': ")
    assert dtype in str(caught.value)
    assert remedy in str(caught.value)


def test_a_subclass_of_tensor_is_refused():
    class Masked(torch.Tensor):
        pass

    with pytest.raises(EncodeError, match="cannot serialize"):
        dumps(torch.ones(3).as_subclass(Masked))


@pytest.mark.parametrize(
    "array",
    [
        np.frombuffer(bytes(24), np.float32),
        np.arange(6.0)[::-1],
        np.arange(6.0).reshape(2, 3).T,
        np.arange(6, dtype=">i4"),
        np.ndarray((3,), np.float64, bytearray(25), 1),
        np.array(2.5),
        np.ones((4, 4), ml_dtypes.bfloat16)[:, ::2],
        np.empty((0, 2), ml_dtypes.float8_e5m2),
    ],
    ids=[
        "read-only",
        "reversed",
        "transposed",
        "big-endian",
        "unaligned",
        "scalar",
        "bfloat16 strided",
        "float8 empty",
    ],
)
def test_to_torch_copies_what_torch_cannot_share(array):
    tensor = to_torch(array)
    assert tensor.shape == array.shape
    assert same(to_numpy(tensor, key="w"), array.astype(array.dtype.newbyteorder("=")).copy(order="C"))
    tensor.zero_()


@pytest.mark.parametrize("array", [np.zeros(2, "M8[s]"), np.array(["a"]), np.zeros(2, object), np.zeros(2, "g")])
def test_to_torch_names_a_dtype_that_torch_lacks(array):
    with pytest.raises(
        DecodeError, match=r"no dtype 'datetime64\[s\]'|no dtype 'U1'|dtype object|no dtype 'longdouble"
    ):
        to_torch(array)


def test_writing_to_the_array_writes_to_the_tensor():
    tensor = torch.zeros(3, requires_grad=True)
    to_numpy(tensor, key="w")[0] = 5
    assert tensor[0] == 5


def test_tensors_up_to_four_kibibytes_travel_in_the_metadata():
    small, large = torch.zeros(4096, dtype=torch.uint8), torch.zeros(4097, dtype=torch.uint8)
    assert [len(dump_frames(tensor)) for tensor in (small, large)] == [1, 2]


def test_a_copy_for_torch_is_contiguous():
    assert to_torch(np.arange(6.0).reshape(2, 3).T).is_contiguous()
