"""The way from what was said to a Job.

Layers are merged from the farthest to the nearest (default, OPENAI_BASE_URL, profile, job file, BATCHCHAT_...
variables, options), checked as one by the schema, and taken apart into the Job's settings.
"""

from __future__ import annotations

import codecs
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import defaults
from batchchat.errors import UsageError
from batchchat.job.endpoint import endpoint_settings, looks_secret
from batchchat.job.envfile import with_env_file, with_local_key
from batchchat.job.file import file_layer, is_job_file
from batchchat.job.options import PROFILE_VARIABLE, PROMPT_KINDS, Place, flag
from batchchat.job.parameter import check_names
from batchchat.job.profile import Config, profile_layer, read_config, with_alias
from batchchat.job.request import lift_known, nearest, not_json, request_fields
from batchchat.job.settings import (
    EndpointSettings,
    Job,
    MoneySettings,
    PolicySettings,
    PoolSettings,
    PromptSettings,
    RowSettings,
    TextSettings,
    input_folder,
    is_embedded,
)
from batchchat.job.source import Layer, Stated, option_layer, saved_layer, suggest, usual_layer, variable_layer
from batchchat.job.wording import validate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchchat.job.schema import Said

_NOT_SAVED = frozenset({"run", "beside"})
_ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "latin-1",
    "cp1252",
    "iso-8859-15",
    "gb18030",
    "shift_jis",
    "euc-kr",
    "big5",
)


def resolve(
    options: Mapping[str, Any],
    *,
    input: str | None,  # noqa: A002 - the contract's own word
    environ: Mapping[str, str] = os.environ,
    need_key: bool = True,
) -> Job:
    """What is meant by options, variables and a job file.

    Args:
        options: the options of `run` by their names with underscores; None is not given.
        input: a table, or a job file (.toml) that names one; None for data in memory.
        environ: the process's variables.
        need_key: False where nothing will be sent (`show`, `estimate`): then a missing key is no error.

    Raises:
        UsageError: with the option, the variable, or the job file and its line.
    """
    environ = with_env_file(environ, _text_option(options, "env_file"))
    config = read_config(environ)
    layers = [usual_layer(environ), *_profile(config, options, environ)]
    source = None
    if input is not None and not input.strip():
        raise UsageError("INPUT is empty: name a table or a job file")
    if input is not None and is_job_file(input):
        source = input
        layers.append(file_layer(input))
    elif input is not None:
        layers.append({("input",): Stated(value=input, source="option", where="INPUT")})
    layers += [variable_layer(environ), option_layer(options)]
    job = _job([with_alias(config, layer) for layer in layers], environ, source=source, need_key=need_key)
    return replace(job, aliases=tuple(config.aliases))


def _text_option(options: Mapping[str, Any], name: str) -> str | None:
    value = options.get(name)
    return None if value is None else str(value)


def _profile(config: Config, options: Mapping[str, Any], environ: Mapping[str, str]) -> list[Layer]:
    """What the chosen profile says, if one was chosen."""
    typed = _text_option(options, "profile")
    name = typed or environ.get(PROFILE_VARIABLE, "").strip()
    if not name:
        return []
    return [profile_layer(config, name, flag("profile") if typed else PROFILE_VARIABLE)]


def resume(
    said: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    *,
    checkpoint: str,
    environ: Mapping[str, str] = os.environ,
    need_key: bool = True,
) -> Job:
    """The job that a checkpoint kept (its `Job.said`), with what the options say on top.

    The variables of the environment give keys, but change nothing else. Files that were moved together with the
    checkpoint are found beside it.
    """
    beside = said.get("beside", {})
    folder = Path(checkpoint).absolute().parent
    kept = {name: value for name, value in said.items() if name != "beside"}
    moved = beside.get("input")
    if moved and (folder / moved).exists():
        kept |= {name: os.path.normpath(folder / path) for name, path in beside.items()}
    environ = with_env_file(environ, _text_option(options or {}, "env_file"))
    layer = saved_layer({**kept, "checkpoint": checkpoint}, checkpoint)
    return _job([layer, option_layer(options or {})], environ, source=None, need_key=need_key)


def _job(layers: list[Layer], environ: Mapping[str, str], *, source: str | None, need_key: bool) -> Job:
    layer: Layer = {}
    for nearer in layers:
        _check_secrets(nearer)
        _check_prompt(nearer)
        if any(kind in nearer for kind in PROMPT_KINDS):
            layer = {path: stated for path, stated in layer.items() if path not in PROMPT_KINDS}
        layer = nearest(layer, lift_known(nearer))
    check_names(layer)
    said = validate(layer)
    prompt = _prompt(said, layer)
    model = said.request.model
    named = layer.get(("endpoint", "api_key_env"))
    environ = with_local_key(environ, defaults.API_KEY_ENV if named is None else str(named.value))
    endpoint = endpoint_settings(layer, environ, model=model, need_key=need_key and not said.run.dry_run)
    job = Job(
        input=said.input,
        output=said.output,
        checkpoint=said.checkpoint,
        prompt=prompt,
        request=request_fields(said.request, layer),
        model=model,
        stream=bool(said.request.stream),
        endpoint=endpoint,
        pool=_pool(said),
        rows=_rows(said),
        money=MoneySettings(
            max_cost=said.job.max_cost,
            max_tokens_total=said.job.max_tokens_total,
            price=said.job.price,
            price_as=said.job.price_as,
        ),
        policy=_policy(said),
        text=_text(said, layer),
        source=source,
        said=_saved(said, layer, prompt, endpoint, embedded=is_embedded(model, endpoint.base_url_source)),
        origins={".".join(path): stated.where for path, stated in layer.items()},
    )
    _check_paths(job)
    return job


def _check_secrets(layer: Layer) -> None:
    """No key is written out, in a job file or an option; what people say in a prompt is theirs."""
    for path, stated in layer.items():
        prose = path[0] == "prompt"
        if (
            stated.source == "checkpoint"
            or path[:2] == ("endpoint", "headers")  # checked where they are taken apart
            or (prose and stated.source == "option")
        ):
            continue
        if any(looks_secret(text, prose=prose) for text in _texts(stated.value)):
            raise UsageError(
                f"{stated.where}: this looks like a key; keep it in a variable and name that: "
                "--api-key-env NAME, or api_key_env in [endpoint]"
            )


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def _check_prompt(layer: Layer) -> None:
    said = [layer[kind].where for kind in PROMPT_KINDS if kind in layer]
    if len(said) > 1:
        raise UsageError(f"{said[0]} and {said[1]} do not go together: say what is asked in one way")


def _prompt(said: Said, layer: Layer) -> PromptSettings:
    section = said.prompt
    template, name = section.template, ""
    if section.file is not None:
        template, name = _read_template(section.file, layer["prompt", "file"]), section.file
    elif template is not None:
        name = layer["prompt", "template"].where
    column = section.column
    if template is None and section.messages_column is None and column is None:
        column = defaults.PROMPT_COLUMN
    system = layer.get(("prompt", "system"))
    for text, place in ((template, name), (section.system, system.where if system else "")):
        if text is not None and not_json(text):
            raise UsageError(f"{place}: has bytes that are no Unicode text")
    return PromptSettings(
        column=column,
        template=_lines(template),
        template_name=name,
        messages_column=section.messages_column,
        system=_lines(section.system),
        system_name=system.where if system else "--system",
        param_columns=dict(said.request.param_columns or {}),
        image_column=section.image_column,
        image_folder=_image_folder(said, layer),
        max_image_mb=section.max_image_mb,
    )


def _image_folder(said: Said, layer: Layer) -> str | None:
    """The folder of the images as it lies to the input's, so that both may be moved together; None: the same."""
    folder, stated = said.prompt.image_folder, layer.get(("prompt", "image_folder"))
    if said.prompt.image_column is None:
        lone = stated or layer.get(("prompt", "max_image_mb"))
        if lone is not None:
            raise UsageError(f"{lone.where}: goes with --image-column, the column that names the images")
    if said.prompt.image_column is not None and said.prompt.messages_column is not None:
        raise UsageError(
            f"{layer['prompt', 'image_column'].where} and {layer['prompt', 'messages_column'].where} do not go "
            "together: images of a messages column stand in its messages"
        )
    if folder is None or stated is None or stated.source == "checkpoint":
        return folder
    whole = Path(folder).expanduser().absolute()
    if not whole.is_dir():
        raise UsageError(f"{stated.where} {folder}: there is no such folder")
    base = input_folder(said.input)
    try:
        near = str(whole) if base is None else Path(os.path.relpath(whole, base)).as_posix()
    except ValueError:  # on another drive
        near = str(whole)
    return None if near == "." else near


def _lines(text: str | None) -> str | None:
    """One kind of line break and none at the end, as the template engine has it: a file and an option are the same."""
    return None if text is None else text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")


def _read_template(path: str, stated: Stated) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{stated.where} {path}: a template is UTF-8 text; byte {error.start} is none") from None
    except OSError as error:
        raise UsageError(f"{stated.where} {path}: cannot be read: {error.strerror}") from None


def _pool(said: Said) -> PoolSettings:
    return PoolSettings(**said.pool.model_dump(exclude_none=True))


def _rows(said: Said) -> RowSettings:
    run = said.run
    if run.sample is not None and run.rows is not None:
        raise UsageError("--sample and --rows do not go together: a trial draws its rows, or is told them")
    if run.seed_rows is not None and run.sample is None:
        raise UsageError("--seed-rows goes with --sample N")
    return RowSettings(
        limit=said.job.limit, sample=run.sample, seed_rows=run.seed_rows, rows=run.rows, where=said.job.where
    )


def _policy(said: Said) -> PolicySettings:
    run = said.run
    retry = frozenset(run.retry) | (frozenset({"failed"}) if run.retry_failed else frozenset())
    if run.restart and (run.keep_answered or retry):
        other = flag("keep_answered") if run.keep_answered else flag("retry")
        raise UsageError(f"--restart and {other} do not go together: --restart starts anew, with every row")
    return PolicySettings(
        retry=retry,
        keep_answered=run.keep_answered,
        restart=run.restart,
        overwrite=run.overwrite,
        prefix=said.job.prefix or "",
        add_columns=tuple(said.job.add_columns or ()),
        safe_csv=bool(said.job.safe_csv),
        dry_run=run.dry_run,
        yes=run.yes,
    )


def _text(said: Said, layer: Layer) -> TextSettings:
    delimiter, encoding = said.text.delimiter, said.text.encoding
    if delimiter is not None:
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter.lower(), delimiter)
        if len(delimiter) != 1 or delimiter in '"\r\n':
            where = layer["text", "delimiter"].where
            raise UsageError(f"{where} {delimiter!r}: must be one character, as ';' or '\\t'")
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError:
            where, near = layer["text", "encoding"].where, suggest(encoding.lower(), _ENCODINGS)
            raise UsageError(f"{where} {encoding}: there is no such encoding{near or ', as utf-8 or cp1252'}") from None
    return TextSettings(delimiter=delimiter, encoding=encoding)


def _check_paths(job: Job) -> None:
    """An output or checkpoint that is the input would destroy it."""
    if not job.input:
        return
    output = job.output_path
    if _same(output, job.input):
        raise UsageError(f"{output}: the output is the input; name another file with -o")
    for path, what in ((job.input, "input"), (output, "output")):
        if _same(job.checkpoint_path, path):
            raise UsageError(f"{job.checkpoint_path}: the checkpoint is the {what}; name another file")


def _same(one: str, other: str) -> bool:
    if "://" in one or "://" in other:
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)


def _saved(
    said: Said, layer: Layer, prompt: PromptSettings, endpoint: EndpointSettings, *, embedded: bool
) -> dict[str, Any]:
    """What was said, as a job file would say it, with whole paths, for the checkpoint."""
    saved: dict[str, Any] = {}
    for path, stated in layer.items():
        if path[0] not in _NOT_SAVED and path not in PROMPT_KINDS:
            _put(saved, path, stated.value)
    names = ("column", "template", "messages_column", "system", "image_column", "image_folder", "max_image_mb")
    saved["prompt"] = {name: value for name in names if (value := getattr(prompt, name)) is not None}
    if said.job.max_cost is not None:
        saved["job"]["max_cost"] = str(said.job.max_cost)
    saved.pop("checkpoint", None)
    if endpoint.api_version is not None:  # it may have come from a variable
        _put(saved, ("endpoint", "api_version"), endpoint.api_version)
    if embedded:
        saved.get("endpoint", {}).pop("base_url", None)
    files = [name for name in ("input", "output") if saved.get(name) and "://" not in saved[name]]
    saved |= {name: str(Path(saved[name]).absolute()) for name in files}
    folder = Path(said.checkpoint or said.output or said.input or "x").absolute().parent
    try:
        saved["beside"] = {name: os.path.relpath(saved[name], folder) for name in files}
    except ValueError:  # on another drive: there is no way from one to the other
        saved["beside"] = {}
    return saved


def _put(nested: dict[str, Any], path: Place, value: Any) -> None:
    for part in path[:-1]:
        nested = nested.setdefault(part, {})
    nested[path[-1]] = value
