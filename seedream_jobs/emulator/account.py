"""The questions about the account and the models, and the emulator's own books for whoever tests against it."""

from __future__ import annotations

from typing import Any

from seedream_jobs.emulator import replies
from seedream_jobs.emulator.books import KEY_RETENTION
from seedream_jobs.emulator.replies import Reply
from seedream_jobs.emulator.service import Service
from seedream_jobs.profile import Profile


def balance(service: Service, denied: Reply | None) -> Reply:
    """What is left and what was used, USD; a failure is HTTP 200 with ``success: false``."""
    if denied is not None:
        return replies.json_reply({"success": False, "message": "身份验证失败，请检查您的API密钥"})
    if service.faults.draw("account") is not None:
        return replies.json_reply({"success": False, "message": "查询余额失败，请稍后重试"})
    now = service.clock()
    return replies.json_reply(
        {
            "success": True,
            "message": "",
            "remain_balance": float(service.books.remaining(now=now)),
            "used_balance": float(service.books.used(now=now)),
            "unlimited_quota": False,
        }
    )


def models(service: Service) -> Reply:
    """The models by id and alias, as OpenAI lists them."""
    entries = [
        {"id": name, "object": "model", "created": 1700000000, "owned_by": "doubao"} for name in service.profiles
    ]
    return replies.json_reply({"object": "list", "data": entries})


def model_schema(service: Service, model: str, operation: str) -> Reply:
    """The input schema of a model, and how it treats idempotency keys where it honours them."""
    profile = service.profiles.get(model)
    if profile is None:
        return replies.error(404, f"模型 {model} 不存在")
    if operation != "image_generation":
        return replies.error(400, f"模型 {model} 不支持操作 {operation}")
    content: dict[str, Any] = {"model": model, "operation": operation, "input_schema": _input_schema(profile)}
    if service.settings.idempotency == "honours":
        content["idempotency"] = {
            "header": "Idempotency-Key",
            "replay_header": "Idempotency-Replayed",
            "retention_seconds": KEY_RETENTION,
            "scope": "account",
        }
    return replies.json_reply(content)


def books(service: Service) -> Reply:
    """The emulator's own record: not part of the API. Counts are of this process, charges of the state folder."""
    now = service.clock()
    return replies.json_reply(
        {
            "charges": [charge.fields() for charge in service.books],
            "posts": {name: service.posts[name] for name in ("accepted", "refused", "replayed")},
            "gets": dict(service.gets),
            "downloads": dict(service.downloads),
            "authorization_leaks": service.leaks,
            "used": str(service.books.used(now=now)),
            "remaining": str(service.books.remaining(now=now)),
        }
    )


def _input_schema(profile: Profile) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {
            "model": {"type": "string", "enum": [profile.id, *profile.aliases]},
            "prompt": {"type": "string", "minLength": 1},
            "size": {"type": "string", "enum": list(profile.sizes)},
            "resolution": {"type": "string", "enum": list(profile.resolutions)},
            "n": {"type": "integer", "minimum": 1, "maximum": profile.max_images},
            "image_urls": {"type": "array", "items": {"type": "string"}},
            "output_format": {"type": "string", "enum": list(profile.output_formats)},
            "sequential_image_generation": {"type": "string", "enum": ["disabled", "auto"]},
            "sequential_image_generation_options": {
                "type": "object",
                "properties": {"max_images": {"type": "integer", "minimum": 1, "maximum": profile.max_images}},
            },
            "watermark": {"type": "boolean"},
        },
    }
