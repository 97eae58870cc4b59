"""The networks to measure, the programs that train them, and the expected times."""

from dataclasses import dataclass, field, replace

# Programs, as parts and rows of the table name them.
HATCHERY = "hatchery"
UNTIMED = "hatchery-untimed"  # uses cublasLt's first algorithms and all fusions
MICRO = "hatchery-micro256"  # passes of 256 images, which may stay in the L2 cache
COMPILED = "compiled"
CUDNN = "compiled-cudnn"  # with cuDNN's attention
REGIONAL = "compiled-regional"  # block by block
EAGER = "eager"

# The flags by which they differ; hatchery's are those of main.go, PyTorch's those of pytorch.py.
HATCHERY_FLAGS = {HATCHERY: [], UNTIMED: ["-untimed"], MICRO: ["-micro", "256"]}
PYTORCH_FLAGS = {
    COMPILED: ["--compile", "default"],
    CUDNN: ["--compile", "default", "--sdpa", "cudnn"],
    REGIONAL: ["--compile", "default", "--regional"],
    EAGER: [],
}


@dataclass(frozen=True)
class Network:
    """A vision transformer and its batch.

    The bytes, floating-point operations and operations of a step are counted by package
    lower; roof is the least time for them on an H100. The expected milliseconds of a step
    are estimates from before the first measurement.
    """

    name: str
    title: str
    image: int
    patch: int
    width: int
    depth: int
    heads: int
    classes: int
    batch: int
    gigabytes: float = 0
    teraflops: float = 0
    operations: int = 0
    roof: float = 0  # milliseconds
    expected: dict = field(default_factory=dict)  # milliseconds by program
    bars: dict = field(default_factory=dict)  # the required speed relative to "eager" and "compiled" PyTorch

    def flags(self):
        shape = ("image", "patch", "width", "depth", "heads", "classes", "batch")
        return [x for name in shape for x in (f"-{name}", str(getattr(self, name)))] + ["-drop-path", "0.1"]


T32 = Network(
    "T32", "DeiT-T-32, 32x32/4", image=32, patch=4, width=192, depth=32, heads=3, classes=100, batch=1024,
    gigabytes=69.5, teraflops=5.9, operations=660, roof=23.3,
    expected={HATCHERY: 37, COMPILED: 53, EAGER: 78}, bars={"eager": 2.0, "compiled": 1.3},
)
T128 = replace(
    T32, name="T128", title="DeiT-T-128, 32x32/4", depth=128, gigabytes=281, teraflops=24.0, operations=2580, roof=94.4,
    expected={HATCHERY: 149, REGIONAL: 212, EAGER: 310},
)
B = Network(
    "B", "ViT-B/16 224", image=224, patch=16, width=768, depth=12, heads=12, classes=1000, batch=256,
    gigabytes=77.6, teraflops=25.5, operations=272, roof=40.9,
    expected={HATCHERY: 53, COMPILED: 69, CUDNN: 66, EAGER: 85}, bars={"compiled": 1.1},
)
L = Network(
    "L", "ViT-L/16 224", image=224, patch=16, width=1024, depth=24, heads=16, classes=1000, batch=128,
    gigabytes=108, teraflops=46.1, operations=524, roof=72.0,
    expected={HATCHERY: 93, COMPILED: 113, CUDNN: 110, EAGER: 135}, bars={"compiled": 1.1},
)
ALL = [T32, T128, B, L]

# The network for measuring the card's roof and for rehearsals.
TINY = Network("tiny", "tiny", image=8, patch=4, width=16, depth=1, heads=2, classes=10, batch=4)


def rehearsed(network):
    """Returns a network of the same name that any CPU trains quickly."""
    return replace(TINY, name=network.name, title=network.title + ", tiny", depth=2 if network.name == T128.name else 1)
