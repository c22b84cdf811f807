"""``deepreduce export``: from a trained network to a plan and its weights."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...errors import SettingError
from ...units import show_bytes, show_count, show_seconds
from ..options import (
    OWN_NORMALIZATION,
    JsonOption,
    MeanOption,
    NormalizeOption,
    StageOption,
    StdOption,
    WidthOption,
    parse_normalization,
    parse_pairs,
    parse_shape,
)
from ..output.console import result_console
from ..output.progress_bar import progress_bar

if TYPE_CHECKING:
    from ...data import Dataset
    from ...export import Exported
    from ...networks import Network
    from ...progress import Progress
    from ...search import Frontier, TrainedNetwork


TUNING_STEPS = {"reduced": "after reduction", "padded": "after moving the padding", "tuned": "after tuning"}
MAX_LOSS = 1.0  # spelled out, so that --help need not load torch; a test compares it with the frontier's
NETWORK, SAMPLES, PLAN = "A network of your own", "Images", "Plan and cost"  # panels of --help

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A search's folder, a network (resnet18, file.py:factory) with its weights, or a file.onnx.",
        show_default=False,
    ),
]
OutOption = Annotated[Path, typer.Option(metavar="DIR", help="The plan's folder.")]
PointOption = Annotated[
    str | None,
    typer.Option(
        help="Which network of a search; or reduce the given one.",
        show_default="the last --target's, else by --max-loss",
    ),
]
MaxLossOption = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="Of a search, take the network of fewest ReLUs that loses at most so many percentage points of the full "
        "network's validation accuracy.",
        show_default="1, unless --point or a --target of the search says which",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="Calibrates, and measures accuracy: digits, cifar10 ... or folder:PATH.",
        show_default=False,
        rich_help_panel=SAMPLES,
    ),
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy",
        help="Samples that calibrate, without accuracy.",
        show_default=False,
        rich_help_panel=SAMPLES,
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="A network's state dict (.safetensors, .pt).", show_default=False, rich_help_panel=NETWORK
    ),
]
RandomWeightsOption = Annotated[
    bool,
    typer.Option(
        "--random-weights", help="For a trial of cost: a network that is not trained.", rich_help_panel=NETWORK
    ),
]
InputShapeOption = Annotated[
    str | None,
    typer.Option(
        "--input", metavar="CxHxW", help="Size of one image.", show_default="the data's", rich_help_panel=NETWORK
    ),
]
ClassesOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of classes, where a factory asks for it and there are no data.",
        show_default="the data's",
        rich_help_panel=NETWORK,
    ),
]
MergeOption = Annotated[
    bool, typer.Option("--merge/--no-merge", help="Compose linear ops where that is cheaper.", rich_help_panel=PLAN)
]
LinkOption = Annotated[
    str,
    typer.Option(
        metavar="lan|wan|RATE,RTT",
        help="Clients' link (200Mbit,20ms): merging and ciphertexts are for it, and the predicted seconds.",
        rich_help_panel=PLAN,
    ),
]
TuneOption = Annotated[
    int,
    typer.Option(
        metavar="EPOCHS",
        help="Train what --point reduced a little more; its weights: DIR/tuned.safetensors.",
        rich_help_panel=NETWORK,
    ),
]
EvaluateOption = Annotated[
    str, typer.Option(metavar="N|all", help="How many images to measure accuracy on.", rich_help_panel=SAMPLES)
]
SplitOption = Annotated[
    Literal["validation", "test"], typer.Option(help="Which images these are.", rich_help_panel=SAMPLES)
]
RingBitsOption = Annotated[str, typer.Option(metavar="auto|N", help="Bits of the ring.", rich_help_panel=PLAN)]
WeightBitsOption = Annotated[int, typer.Option(help="Most bits of a weight.", rich_help_panel=PLAN)]
ActivationBitsOption = Annotated[
    int | None,
    typer.Option(
        help="Bits of an activation.", show_default="14: fewer are cheaper, and coarser", rich_help_panel=PLAN
    ),
]
SeedOption = Annotated[
    int, typer.Option(help="Of the split into training and validation images (--data).", rich_help_panel=SAMPLES)
]
OnnxOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the merged network in floating point, too.", show_default=False),
]
SamplesOption = Annotated[
    int, typer.Option(metavar="N", help="Put N test pictures into DIR/samples.", rich_help_panel=SAMPLES)
]
ProtocolOption = Annotated[
    Literal["auto", "ot", "delphi"],
    typer.Option(help="Whose cost is predicted; auto: what takes least on the link.", rich_help_panel=PLAN),
]


@dataclass(frozen=True)
class ExportOptions:
    """The options of ``deepreduce export`` as they were typed."""

    source: SourceArgument
    out: OutOption
    point: PointOption
    max_loss: MaxLossOption
    data: DataOption
    mean: MeanOption
    std: StdOption
    normalize: NormalizeOption
    calibration: CalibrationOption
    weights: WeightsOption
    random_weights: RandomWeightsOption
    input_shape: InputShapeOption
    classes: ClassesOption
    width: WidthOption
    stage: StageOption
    merge: MergeOption
    link: LinkOption
    tune: TuneOption
    evaluate: EvaluateOption
    split: SplitOption
    ring_bits: RingBitsOption
    weight_bits: WeightBitsOption
    activation_bits: ActivationBitsOption
    seed: SeedOption
    onnx: OnnxOption
    samples: SamplesOption
    protocol: ProtocolOption
    as_json: JsonOption


def export_command(
    source: SourceArgument,
    out: OutOption = Path("plan"),
    point: PointOption = None,
    max_loss: MaxLossOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    normalize: NormalizeOption = None,
    calibration: CalibrationOption = None,
    weights: WeightsOption = None,
    random_weights: RandomWeightsOption = False,
    input_shape: InputShapeOption = None,
    classes: ClassesOption = None,
    width: WidthOption = 1.0,
    stage: StageOption = None,
    merge: MergeOption = True,
    link: LinkOption = "lan",
    tune: TuneOption = 0,
    evaluate: EvaluateOption = "all",
    split: SplitOption = "validation",
    ring_bits: RingBitsOption = "auto",
    weight_bits: WeightBitsOption = 12,
    activation_bits: ActivationBitsOption = None,
    seed: SeedOption = 0,
    onnx: OnnxOption = None,
    samples: SamplesOption = 0,
    protocol: ProtocolOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Turn a trained network into a plan that client and server share, and integer weights for the server.

    Batch normalization is folded in, linear ops are merged where that is cheaper, weights get at most 12 bits, and
    sample images decide the scales. Accuracy is measured before and after, in exact integers.
    """
    _export(ExportOptions(**locals()))


def _export(options: ExportOptions) -> None:
    from ...plan.cost import layout_rate, parse_link, run_cost

    settings: dict[str, Any] = {
        "evaluate": _count(options.evaluate),
        "split": options.split,
        "merge": options.merge,
        "link_rate": layout_rate(parse_link(options.link)),
        "ring_bits": _ring(options.ring_bits),
        "weight_bits": options.weight_bits,
        **({} if options.activation_bits is None else {"activation_bits": options.activation_bits}),
    }
    stages = parse_pairs(options.stage, "--stage") or None
    console = result_console(stderr=options.as_json)
    from ...export import check_folder

    check_folder(options.out)
    searched = (Path(options.source) / "frontier.json").is_file() or (
        Path(options.source).is_dir() and not options.source.endswith(".onnx")
    )
    if options.samples and options.data is None and not searched:
        raise SettingError("--samples are test pictures of --data", "give --data NAME")
    dataset: Dataset | None
    with progress_bar(console) as report:
        if searched:
            given: dict[str, object] = {
                "--weights": options.weights,
                "--random-weights": options.random_weights or None,
                "--calibration": options.calibration,
                "--input": options.input_shape,
                "--mean": options.mean,
                "--std": options.std,
                "--normalize": options.normalize,
                "--classes": options.classes,
            }
            _refuse(given, "come with the search")
            exported, network, dataset = _from_search(options, settings, report)
        else:
            if options.max_loss is not None:
                raise SettingError("--max-loss picks a network of a search", "name a search's folder, or give --point")
            exported, network, dataset = _from_network(options, stages, settings, report)
        files = exported.write(options.out)
        if options.tune:
            from safetensors.torch import save

            from ...files import write_whole

            files.append(
                write_whole(
                    options.out / "tuned.safetensors",
                    save({name: value.contiguous() for name, value in network.state_dict().items()}),
                )
            )
        if options.samples:
            from ...export import write_samples

            assert dataset is not None  # checked above
            files += write_samples(options.out, dataset, options.samples)
        written: dict[str, Any] = {"files": [str(path) for path in files]}
        if options.onnx is not None:
            from ...export import write_onnx

            report("write ONNX", 0, 1)
            difference = write_onnx(options.onnx, network, merge=options.merge)
            written |= {"onnx": str(options.onnx), "onnx_largest_difference": difference}
    costs = run_cost(exported.plan, options.link, options.protocol).to_json()
    if options.as_json:
        typer.echo(json.dumps({**exported.facts(), "cost": costs, **written}, indent=1))
    else:
        _show(console, exported, costs, written)


def _from_search(
    options: ExportOptions, settings: dict[str, Any], report: Progress
) -> tuple[Exported, Network, Dataset]:
    from ...data import load
    from ...export import export_point, frontier_data, normalized_as
    from ...search import Frontier

    if options.tune:
        raise SettingError("--tune is for networks of your own", "a search's networks were trained as they are")
    frontier = Frontier.load(Path(options.source))
    trained, reason = _chosen(frontier, options.point, options.max_loss)
    report("load the data", 0, 1)
    if options.data is None:
        dataset = frontier_data(frontier)
    else:
        dataset = normalized_as(frontier, load(options.data, seed=options.seed))
    exported = export_point(frontier, trained, data=dataset, progress=report, **settings)
    exported = replace(exported, source={**exported.source, "choice": reason})
    return exported, frontier.module(trained), dataset


def _chosen(frontier: Frontier, point: str | None, max_loss: float | None) -> tuple[TrainedNetwork, str]:
    """Return the network of a search to export, and the reason in a sentence."""
    if point is not None:
        if max_loss is not None:
            raise SettingError("--point and --max-loss both say which network", "give one of them")
        trained = frontier[point]
        return trained, f"as asked for; {_loss(frontier, trained)}"
    picked = [target for target in frontier.content.get("targets", ()) if target["network"]]
    if picked and max_loss is None:
        trained = frontier[picked[-1]["network"]]
        return trained, f"the search's choice for {' and '.join(picked[-1]['targets'])}; {_loss(frontier, trained)}"
    allowed = MAX_LOSS if max_loss is None else max_loss
    trained = frontier.best(allowed)
    within = f"at most {allowed:g} {'point' if allowed == 1 else 'points'} below the full network's validation accuracy"
    if trained.role != "teacher":
        return trained, f"the fewest ReLUs {within}; {_loss(frontier, trained)}"
    reduced = [network for network in frontier if network.role != "teacher"]
    text = f"nothing was removed: no reduced network is {within}"
    if reduced:
        closest = max(reduced, key=lambda network: network.validation_accuracy)
        text += f"; closest is {closest.name}, --max-loss {_rounded_up(frontier.loss(closest))} takes it"
    return trained, text


def _loss(frontier: Frontier, network: TrainedNetwork) -> str:
    own, full = network.validation_accuracy, frontier.teacher.validation_accuracy
    return f"validation accuracy {own:.2f} %, the full network's is {full:.2f} % ({own - full:+.2f} points)"


def _rounded_up(points: float) -> str:
    return f"{math.ceil(100 * points - 1e-6) / 100:g}"


def _from_network(
    options: ExportOptions, stages: dict[str, str] | None, settings: dict[str, Any], report: Progress
) -> tuple[Exported, Network, Dataset | None]:
    from ...data import by_channel, load
    from ...export import calibration_images, export_network, load_network, read_calibration, spread
    from ...networks import ModelSource
    from ...reduce import reduce_to

    source, point, calibration = options.source, options.point, options.calibration
    if options.data is None and calibration is None:
        raise SettingError(
            f"{source} needs samples to be calibrated with",
            "give --data NAME (digits, cifar100, folder:PATH ...) or --calibration FILE.npy",
        )
    if options.tune and (options.data is None or point is None):
        raise SettingError("--tune trains a network that --point reduced, on the images of --data", "give both")
    normalization = parse_normalization(options.mean, options.std, options.normalize)
    shape = None if options.input_shape is None else parse_shape(options.input_shape)
    report("load the network and the data", 0, 1)
    model = ModelSource(source, options.width, stages)
    dataset = None if options.data is None else load(options.data, seed=options.seed)
    if dataset is not None and normalization is not None:
        dataset = dataset.normalized(*normalization)
    elif dataset is not None and options.weights is not None:
        typer.echo(OWN_NORMALIZATION, err=True)
    wanted = shape or (None if dataset is None else dataset.input_shape)
    images = model.input_shape(wanted) or wanted or (3, 32, 32)
    classes = options.classes
    if dataset is not None:
        if classes not in (None, len(dataset.classes)):
            raise SettingError(f"--classes {classes}: the data has {len(dataset.classes)}", "leave it out")
        classes = len(dataset.classes)
    full = load_network(model, images, classes, options.weights, options.random_weights)
    scores: dict[str, float] = {}
    if options.tune and dataset is not None and point is not None:
        from ...export import tuned

        network, scores = tuned(full, point, dataset, options.tune, report)
    else:
        network = reduce_to(full, point or "full").eval()
    split = settings.pop("split")
    count = settings.pop("evaluate")
    if dataset is None:
        assert calibration is not None
        samples = read_calibration(calibration, images)
        if normalization is not None:
            if samples.dtype != "uint8":
                raise SettingError(
                    f"{calibration} holds the network's inputs, which no normalization is for",
                    "save pictures as uint8, or leave --mean, --std and --normalize out",
                )
            mean, std = normalization
            settings |= {"mean": by_channel("mean", mean, images[0]), "std": by_channel("std", std, images[0])}
        exported = export_network(network, samples, progress=report, **settings)
    else:
        exported = export_network(
            network,
            calibration_images(dataset) if calibration is None else read_calibration(calibration, images),
            mean=dataset.mean,
            std=dataset.std,
            classes=dataset.classes,
            evaluate=spread(getattr(dataset, split), count),
            split=split,
            progress=report,
            **settings,
        )
    notices = [*model.notices(images), *(dataset.notices if dataset else ()), *exported.notices]
    if model.is_onnx:
        from ...export import onnx_difference

        report("compare with onnxruntime", 0, 1)
        if (difference := onnx_difference(source, full)) is not None:
            notices.append(f"onnxruntime's logits differ by {difference:.1e} at most from what was read")
    facts: dict[str, Any] = {"model": source, "point": str(network.point), "data": options.data}
    if scores:
        facts["tuning"] = {"epochs": options.tune, **scores}
    return replace(exported, source=facts, notices=tuple(notices)), network, dataset


def _show(console: Console, exported: Exported, costs: dict[str, Any], written: dict[str, Any]) -> None:
    facts = exported.facts()
    table = Table(show_header=False, title=escape(_title(facts)), title_justify="left")
    ring, accuracy = exported.plan.ring, facts["accuracy"]
    table.add_row("linear ops", _merged(exported.convs_before, exported.convs_after))
    table.add_row("ring", f"{ring.ring_bits} bits, weights of {facts['weight_bits']} bits")
    if accuracy["float"] is not None:
        where = f"{accuracy['images']:,} {accuracy['split']} images"
        table.add_row("accuracy", f"{accuracy['float']:.2f} % in floating point, on {where}")
        table.add_row(
            "", f"{accuracy['quantized']:.2f} % in the plan's integers ({accuracy['difference']:+.2f} points)"
        )
    if tuning := facts.get("tuning"):
        table.add_row("tuning", show_count(tuning["epochs"], "epoch"))
        for step, text in TUNING_STEPS.items():
            table.add_row("", f"{tuning[step]:.2f} % {text}")
    table.add_row("ReLUs", f"{costs['relus']:,}" + (f", {costs['rescales']:,} rescales" * bool(costs["rescales"])))
    for phase in ("offline", "online"):
        rounds = f", {costs['rounds']} rounds" if phase == "online" else ""
        size, seconds = show_bytes(costs[f"{phase}_bytes"]), show_seconds(costs[f"{phase}_seconds"])
        table.add_row(f"{phase} (predicted, {escape(costs['link'])})", f"{size}, {seconds}{rounds}")
    console.print(table)
    if "choice" in facts:
        console.print(f"point: {escape(facts['choice'])}", highlight=False, soft_wrap=True)
    for notice in exported.notices:
        console.print(f"[yellow]note:[/] {escape(notice)}", highlight=False, soft_wrap=True)
    if "onnx" in written:
        console.print(f"wrote {escape(written['onnx'])}{_checked(written)}", highlight=False, soft_wrap=True)
    files = [path for path in written["files"] if not path.endswith(".png")]
    console.print(f"wrote {', '.join(map(escape, files))}", highlight=False, soft_wrap=True)
    if pictures := len(written["files"]) - len(files):
        folder = Path(written["files"][-1]).parent
        console.print(
            f"wrote {show_count(pictures, 'test picture')} to {escape(str(folder))}", highlight=False, soft_wrap=True
        )


def _merged(before: int, after: int) -> str:
    return f"{after} ({f'merged from {before}' if after < before else 'none merged'})"


def _checked(written: dict[str, Any]) -> str:
    difference = written["onnx_largest_difference"]
    if difference is None:
        return " (not checked: onnxruntime is not installed)"
    return f" (onnxruntime's answers differ by {difference:.1e} at most)"


def _title(facts: dict[str, Any]) -> str:
    return "  ".join(str(facts[key]) for key in ("model", "point") if facts.get(key))


def _refuse(given: dict[str, object], why: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise SettingError(f"{name} cannot be given for a search's folder: its data and weights {why}")


def _count(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise SettingError(f"--evaluate {text!r} is not a number of images", "write a number, 0 for none, or all")
    return int(text)


def _ring(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise SettingError(f"--ring-bits {text!r} is not a number of bits", "write auto, 32 or 41")
    return int(text)
