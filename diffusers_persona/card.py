"""The model card of a concept: what the Hub shows, and what a stranger needs to use the folder. Loads no torch."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .consent import STATEMENT, shows_a_person
from .errors import PersonaError

_TEMPLATES = (Path(__file__).parent / "hub_cards", Path(__file__).parent.parent / "hub_cards")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_LICENCES = frozenset(
    "apache-2.0 mit openrail openrail++ creativeml-openrail-m cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 "
    "cc-by-nc-sa-4.0 cc-by-nc-nd-4.0 cc-by-nd-4.0 bsd-3-clause gpl-3.0 unlicense".split()
)
STOCK_FILES = {
    "learned_embeds.safetensors": "pipe.load_textual_inversion({where}, weight_name={file}, token={token})",
    "pytorch_lora_weights.safetensors": "pipe.load_lora_weights({where}, weight_name={file})",
    "pytorch_custom_diffusion_weights.safetensors": "pipe.unet.load_attn_procs({where}, weight_name={file})",
    "ip_adapter.safetensors": 'pipe.load_ip_adapter({where}, subfolder="", weight_name={file})',
}
_PAIR_OF_WORDS = """\
words = load_file({path})
pipe.load_textual_inversion(words["clip_l"], {token}, pipe.tokenizer, pipe.text_encoder)
pipe.load_textual_inversion(words["clip_g"], {token}, pipe.tokenizer_2, pipe.text_encoder_2)"""
_TWO_ENCODERS = ("sdxl",)
_LOAD_FILE = "from safetensors.torch import load_file"
_PLACEHOLDER = "PATH_OR_REPO"
_STOCK_OF_SPACE = {
    "word": "learned_embeds.safetensors",
    "low_rank": "pytorch_lora_weights.safetensors",
    "key_weights": "pytorch_custom_diffusion_weights.safetensors",
}
_STOCK_TAGS = {
    "learned_embeds.safetensors": "textual_inversion",
    "pytorch_lora_weights.safetensors": "lora",
    "pytorch_custom_diffusion_weights.safetensors": "custom-diffusion",
}


def template_path() -> Path:
    """The card template: inside the installed package, or beside it in a source checkout.

    Raises:
        PersonaError: it is in neither place.
    """
    for folder in _TEMPLATES:
        if (folder / "concept.md").is_file():
            return folder / "concept.md"
    raise PersonaError(f"the card template concept.md is missing from {_TEMPLATES[0]}: reinstall diffusers-persona")


def phrase_of(header: Mapping[str, Any]) -> str:
    """The words that call the concept in a prompt, e.g. ``"<toy>"`` or ``"sks dog"``."""
    return header.get("phrase") or header["token"]


def base_name(header: Mapping[str, Any]) -> str:
    """What a concept's header calls its base model: ``"toybox"``, a Hub id, a folder's name, or nothing."""
    return str((header.get("base_model") or {}).get("name") or "")


def render_card(
    header: Mapping[str, Any],
    *,
    files: Sequence[str] = (),
    repo: str | None = None,
    revision: str | None = None,
    entry: Any = None,
    scores: Mapping[str, Any] | None = None,
) -> str:
    """Write the card of a concept as Markdown with the Hub's YAML front matter.

    Args:
        header: the concept's header, as in ``concept.json``.
        files: names of the files beside it, relative to the folder; previews and stock formats are recognised.
        repo: the Hub id where it will lie; a placeholder when left out.
        revision: the branch there, when it is not the main one.
        entry: the recipe's `RecipeEntry`; adds title, paper and departures.
        scores: measured numbers to show, name -> value.

    Returns:
        the text of README.md.
    """
    from huggingface_hub import ModelCard

    phrase = phrase_of(header)
    previews = sorted(name for name in files if name.lower().endswith(_PICTURES))[:6]
    stock = _stock_parts(header, files)
    formats = {part.format for part in stock}
    place = _Place(repo, revision if revision != "main" else None)
    base = header.get("base_model") or {}
    base_id = base_name(header) or "PATH_OR_ID_OF_THE_BASE_MODEL"
    prompt = f"a photo of a {phrase} on the beach" if header.get("kind") != "style" else f"a {phrase} of a cat"
    person = shows_a_person(header)
    kinds = [space["kind"] for space in header.get("spaces") or ()]
    body = {
        "title": f"{_plain(header.get('noun') or header.get('kind') or 'concept')}: {_code(phrase)}",
        "summary": _summary(header, phrase, base_id),
        "previews": previews,
        "without_stock": [kind for kind in kinds if _STOCK_OF_SPACE.get(kind) not in formats],
        "stock": [line for part in stock for line in _stock_lines(part, place, base).splitlines()],
        "stock_imports": _stock_imports(stock, place, base),
        "load_base": "toybox.load()"
        if base_id == "toybox"
        else f"DiffusionPipeline.from_pretrained({_literal(base_id)})",
        "base_import": "from diffusers_persona import toybox"
        if base_id == "toybox"
        else "from diffusers import DiffusionPipeline",
        "where": place.arguments,
        "prompt_literal": _literal(prompt),
        "repo_shell": _shell(place.name),
        "revision_shell": _shell(place.revision) if place.revision else "",
        "base_shell": _shell(base_id),
        "prompt_shell": _shell(prompt),
        "facts": _facts(header, phrase, base, base_id, entry),
        "paper": f"[{entry.name}](https://arxiv.org/abs/{entry.paper})" if entry and entry.paper else "",
        "departures": entry.departures if entry else "",
        "numbers": [(name, json.dumps(value)) for name, value in (header.get("numbers") or {}).items()],
        "training": _training(header),
        "scores": list((scores or {}).items()),
        "person": person,
        **_rights(header, person),
    }
    data = _metadata(header, phrase, base_id, previews, prompt, formats)
    text = str(ModelCard.from_template(data, template_path=str(template_path()), **body))
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def write_card(folder: str | os.PathLike, **options) -> Path:
    """Write README.md into a concept folder from its ``concept.json`` (atomically) and return its path.

    Args:
        folder: a saved concept.
        options: `repo`, `entry`, `scores` as in `render_card`.

    Raises:
        PersonaError: the folder has no readable ``concept.json``.
    """
    folder = Path(folder)
    header_file = folder / "concept.json"
    try:
        header = json.loads(header_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PersonaError(f"{folder} is no concept: it has no concept.json; save the concept there first") from None
    except ValueError as error:
        raise PersonaError(f"{header_file} is not valid JSON ({error}); save the concept again") from None
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    target = folder / "README.md"
    partial = folder / ".README.md.partial"
    partial.write_text(render_card(header, files=files, **options), encoding="utf-8")
    os.replace(partial, target)
    return target


def _metadata(header, phrase, base_id, previews, prompt, formats):
    from huggingface_hub import ModelCardData

    licence = str(header.get("licence") or "").strip()
    extra: dict[str, Any] = {}
    if licence:
        known = licence.lower() in _HUB_LICENCES
        extra = {"license": licence.lower()} if known else {"license": "other", "license_name": licence}
    if _HUB_ID.fullmatch(base_id):
        extra |= {"base_model": base_id, "base_model_relation": "adapter"}
    if previews:
        extra["widget"] = [{"text": prompt, "output": {"url": name}} for name in previews]
    tags = [
        "text-to-image",
        "diffusers",
        "diffusers-persona",
        str(header.get("recipe", "")),
        str(header.get("kind", "")),
    ]
    tags += [tag for name, tag in _STOCK_TAGS.items() if name in formats]
    return ModelCardData(
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=[tag for tag in dict.fromkeys(tags) if tag],
        instance_prompt=f"a {phrase}",
        **extra,
    )


def _summary(header, phrase, base_id) -> str:
    images = (header.get("training") or {}).get("images") or ()
    count = {0: "a few pictures", 1: "one picture"}.get(len(images), f"{len(images)} pictures")
    what = header.get("noun") or header.get("kind") or "concept"
    origin = f"learned from {count} with the recipe `{header.get('recipe', 'unknown')}`"
    if header.get("provenance"):
        origin = _plain(header["provenance"])
    return (
        f"A personal concept ({_plain(what)}) for text-to-image pipelines, {origin}. "
        f"Write {_code(phrase)} in a prompt to call it. "
        f"Base model: {_code(base_id)}."
    )


def _facts(header, phrase, base, base_id, entry) -> list[tuple[str, str]]:
    rows = [
        ("recipe", _code(header.get("recipe"))),
        ("method", _plain(entry.name) if entry else ""),
        ("kind", _code(header.get("kind"))),
        ("noun", _code(header.get("noun"))),
        ("token", _code(header.get("token"))),
        ("prompt phrase", _code(phrase)),
        ("spaces", ", ".join(_code(space["kind"]) for space in header.get("spaces") or ())),
        ("base model", _code(base_id)),
        ("pipeline class", _code(base.get("pipeline"))),
        ("fingerprint of the base", _code(base.get("fingerprint"))),
        ("schema version", _code(header.get("schema_version"))),
        ("made with", ", ".join(f"{_plain(k)} {_plain(v)}" for k, v in (header.get("versions") or {}).items())),
    ]
    return [(name, value) for name, value in rows if value]


def _training(header) -> list[tuple[str, str]]:
    """The training record without what is long: the loss curve becomes its two ends, pictures their number."""
    record = dict(header.get("training") or {})
    curve, images = record.pop("loss_curve", None), record.pop("images", None)
    record.pop("declaration", None)
    if curve:
        record["loss, first and last"] = f"{curve[0]}, {curve[-1]}"
    if images:
        record["pictures"] = len(images)
    return [(name, _plain(value)) for name, value in record.items()]


def _rights(header, person) -> dict[str, str]:
    licence, consent = header.get("licence"), header.get("consent")
    stated = f" {STATEMENT}." if header.get("consent_to_publish") and consent != STATEMENT else ""
    return {
        "licence_note": f"Licence of the concept: {_code(licence)}."
        if licence
        else "No licence is stated: ask the author before you use it.",
        "consent_note": f"Provenance and consent, as stated by the author: {_plain(consent)}.{stated}"
        if consent
        else ("No consent is recorded: do not publish it." if person else "No provenance of the pictures is stated."),
    }


@dataclass(frozen=True)
class _Place:
    """Where a reader finds the concept: a repository, or a placeholder."""

    repo: str | None
    revision: str | None

    @property
    def name(self) -> str:
        return self.repo or _PLACEHOLDER

    @property
    def arguments(self) -> str:
        """Arguments of a `from_pretrained` or `load_...` call."""
        return _literal(self.name) + (f", revision={_literal(self.revision)}" if self.revision else "")

    def path(self, file: str) -> str:
        """Expression for the path of one file."""
        if self.repo is None:
            return _literal(f"{self.name}/{file}")
        revision = f", revision={_literal(self.revision)}" if self.revision else ""
        return f"hf_hub_download({_literal(self.repo)}, {_literal(file)}{revision})"


@dataclass(frozen=True)
class _StockPart:
    """One file in a stock format: its name, the format's own file name, and the word that it defines."""

    file: str
    format: str
    token: str


def _stock_parts(header, files) -> list[_StockPart]:
    """The stock files beside a concept; one of several words is called ``<word>_learned_embeds.safetensors``."""
    spaces = header.get("spaces") or ()
    words = [space.get("token") or header["token"] for space in spaces if space["kind"] == "word"]
    parts = []
    for stock in STOCK_FILES:
        for name in sorted(files):
            prefix = name.removesuffix(stock).removesuffix("_")
            if name == stock:
                parts.append(_StockPart(name, stock, (words or [header["token"]])[0]))
            elif name == f"{prefix}_{stock}" and "/" not in name:
                token = next((word for word in words if word.strip("<>") == prefix), f"<{prefix}>")
                parts.append(_StockPart(name, stock, token))
    return parts


def _is_pair(part, base) -> bool:
    return part.format == "learned_embeds.safetensors" and base.get("family") in _TWO_ENCODERS


def _stock_lines(part, place, base) -> str:
    line = _PAIR_OF_WORDS if _is_pair(part, base) else STOCK_FILES[part.format]
    path, token = place.path(part.file), _literal(part.token)
    return line.format(where=place.arguments, path=path, file=_literal(part.file), token=token)


def _stock_imports(parts, place, base) -> list[str]:
    if not any(_is_pair(part, base) for part in parts):
        return []
    return [*(["from huggingface_hub import hf_hub_download"] if place.repo else []), _LOAD_FILE]


def _plain(value: Any) -> str:
    """A value as one line of Markdown text: no table breaks, no tags."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return re.sub(r"[|`<>\[\]]", " ", " ".join(text.split()))


def _code(value: Any) -> str:
    """A value as inline code, so that ``<toy>`` is no HTML tag; nothing for a missing value."""
    if value is None or value == "":
        return ""
    return "`" + re.sub(r"[|`]", " ", " ".join(str(value).split())) + "`"


def _literal(text: str) -> str:
    """A string as a Python literal."""
    return json.dumps(text, ensure_ascii=False)


def _shell(text: str) -> str:
    """A string as one shell word."""
    return text if re.fullmatch(r"[\w./-]+", text) else "'" + text.replace("'", "'\\''") + "'"
