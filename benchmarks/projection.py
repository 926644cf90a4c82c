"""The twin and the flow on devices that are not here, on paper: `python benchmarks/projection.py`,
a Markdown table.

Nothing is measured: a forward takes as long as its weights take to be read once at the device's
bandwidth, or as its products take at its peak for such weights, whichever is longer; the makers'
peaks, which nothing reaches. Read in each forward: every weight of backbone and head, and the kept
keys and values (16 bits). Operations: 2 for each weight of the backbone and row, 2 for each of the
head and answered row, and 4 · layers · hidden for each pair of a row and a column that it attends
to.
"""

from __future__ import annotations

from dataclasses import dataclass

from nextomni_edge.measure import devices
from nextomni_edge.measure.devices import Device

PROMPT = 128


@dataclass(frozen=True)
class Network:
    """Qwen2.5's sizes."""

    name: str
    hidden: int
    layers: int
    cache: int  # width of the keys
    mlp: int
    vocabulary: int

    @property
    def backbone(self) -> int:
        """Weights of the layers' matrices."""
        return self.layers * self.hidden * (2 * self.hidden + 2 * self.cache + 3 * self.mlp)

    @property
    def head(self) -> int:
        return self.hidden * self.vocabulary


DEVICES = tuple(devices.DEVICES[name] for name in ("orin-nano-8gb", "rtx-4060", "h100"))
NETWORKS = (
    Network("0.5B", 896, 24, 128, 4864, 151_936),
    Network("7B", 3584, 28, 512, 18_944, 152_064),
)


def seconds(
    device: Device, network: Network, bits: int, rows: int, answered: int, columns: int
) -> float:
    """Of one forward of `rows` that attend to `columns`, with the head on `answered` of them."""
    weights = (network.backbone + (network.head if answered else 0)) * bits / 8
    kept = 2 * 2 * network.layers * network.cache * (columns - rows)
    products = 2 * (network.backbone * rows + network.head * answered)
    attention = 4 * network.layers * network.hidden * rows * columns
    return max(
        (weights + kept) / device.bandwidth,
        (products + attention) / device.operations[f"int{bits}"],
    )


def twin_seconds(device: Device, network: Network, bits: int, length: int) -> float:
    """The prompt, which gives the first token, and a forward of one row for every other."""
    rest = sum(seconds(device, network, bits, 1, 1, PROMPT + place) for place in range(1, length))
    return seconds(device, network, bits, PROMPT, 1, PROMPT) + rest


def break_even(device: Device, network: Network, bits: int, length: int, once: bool) -> float:
    """Forwards of the flow that take as long as the twin's answer; `once`: the prompt's keys and
    values are computed once."""
    twin, columns = twin_seconds(device, network, bits, length), PROMPT + length
    if not once:
        return twin / seconds(device, network, bits, columns, length, columns)
    prompt = seconds(device, network, bits, PROMPT, 0, PROMPT)
    return (twin - prompt) / seconds(device, network, bits, length, length, columns)


def rates() -> str:
    """What the makers say, as Markdown."""
    lines = [
        "| device | bandwidth | INT8, dense | INT4 weights | from |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for device in DEVICES:
        int8, int4 = (f"{device.operations[name] / 1e12:,.0f} TOPS" for name in ("int8", "int4"))
        lines.append(
            f"| {device.name} | {device.bandwidth / 1e9:,.0f} GB/s | {int8} | {int4} |"
            f" {device.source} |"
        )
    return "\n".join(lines)


def table() -> str:
    """A line for each device and network; weights of 4 bits where 8 do not fit beside the
    system."""
    lines = [
        (
            "| device | network, weights | token | forward, 64 tokens | break-even, 64 tokens | 256"
            " tokens |"
        ),
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for device in DEVICES:
        for network in NETWORKS:
            bits = 8 if network.backbone + network.head < device.memory - device.reserved else 4
            token = seconds(device, network, bits, 1, 1, PROMPT + 32)
            forward = [
                seconds(device, network, bits, rows, 64, PROMPT + 64) for rows in (PROMPT + 64, 64)
            ]
            even = [
                [break_even(device, network, bits, length, once) for once in (False, True)]
                for length in (64, 256)
            ]
            cells = [device.name, f"{network.name}, {bits} bits", f"{1e3 * token:.2f} ms"]
            cells += [" / ".join(f"{1e3 * each:.2f} ms" for each in forward)]
            cells += [" / ".join(f"{each:.0f}" for each in pair) for pair in even]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    print(f"{rates()}\n\n{table()}")


if __name__ == "__main__":
    main()
