"""What a line of Claude Code's stream-json holds, as observed with the version named here; pure."""

from __future__ import annotations

from hive_session.rehearsal_plan import QUEEN_MODEL, ROLES, Agent, Usage

Line = dict[str, object]

VERSION = "2.1.197"  # the Claude Code whose format is played
DISCLAIMER = "Rehearsal: no model is involved. Every text, token and price here was invented from a seed."
TOOLS = ["Task", "Bash", "Edit", "Grep", "Read", "TaskCreate", "TaskUpdate", "WebSearch"]


def init_fields(cwd: str) -> Line:
    """What a run says of itself first."""
    return {
        "cwd": cwd,
        "tools": TOOLS,
        "mcp_servers": [],
        "model": QUEEN_MODEL,
        "permissionMode": "bypassPermissions",
        "slash_commands": [],
        "apiKeySource": "none",
        "claude_code_version": VERSION,
        "output_style": "default",
        "agents": [role[0] for role in ROLES],
        "skills": [],
        "plugins": [],
        "analytics_disabled": True,
        "product_feedback_disabled": True,
        "fast_mode_state": "off",
    }


def outcome_fields(failed: bool) -> Line:
    """How the run ended; Claude Code 2.1.197 calls a failure of its own a "success" with is_error."""
    return {
        "subtype": "success",
        "is_error": failed,
        "api_error_status": None,
        "stop_reason": "end_turn",
        "permission_denials": [],
        "terminal_reason": "completed",
        "fast_mode_state": "off",
    }


def usage_fields(usage: Usage) -> Line:
    """The usage of one message."""
    return {
        "input_tokens": usage[0],
        "cache_creation_input_tokens": usage[3],
        "cache_read_input_tokens": usage[2],
        "output_tokens": usage[1],
    }


def full_usage_fields(usage: Usage) -> Line:
    """The usage of a result, of the whole run or of a sub-agent."""
    return usage_fields(usage) | {
        "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
        "service_tier": "standard",
        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": usage[3]},
        "inference_geo": "",
        "iterations": [],
        "speed": "standard",
    }


def model_fields(usage: Usage, cost: float) -> Line:
    """One entry of modelUsage; `cost` in US dollars."""
    return {
        "inputTokens": usage[0],
        "outputTokens": usage[1],
        "cacheReadInputTokens": usage[2],
        "cacheCreationInputTokens": usage[3],
        "webSearchRequests": 0,
        "costUSD": cost,
        "contextWindow": 200_000,
        "maxOutputTokens": 32_000,
    }


def task_fields(agent: Agent) -> Line:
    """How Claude Code names a sub-agent in its task lines."""
    return {
        "task_id": agent.task_id,
        "tool_use_id": agent.tool_use_id,
        "description": agent.description,
        "subagent_type": agent.kind,
    }


def call_of(agent: Agent) -> str | None:
    """The call that made the agent; None for the queen, whom nobody called."""
    return agent.tool_use_id or None


def whose(agent: Agent) -> Line:
    """What a line of a sub-agent carries beyond the queen's."""
    return {"subagent_type": agent.kind, "task_description": agent.description} if agent.depth else {}


def footer(agent: Agent, took_ms: int) -> str:
    """The text that follows a sub-agent's answer."""
    figures = f"subagent_tokens: {sum(agent.last)}\ntool_uses: {agent.tool_uses}\nduration_ms: {took_ms}"
    return f"agentId: {agent.task_id}\n<usage>{figures}</usage>"


def task_result(agent: Agent, answer: str, took_ms: int) -> Line:
    """What a parent's line says, beside the text, of the sub-agent that answered."""
    return {
        "status": "completed",
        "prompt": agent.prompt,
        "agentId": agent.task_id,
        "agentType": agent.kind,
        "content": [{"type": "text", "text": answer}],
        "resolvedModel": agent.model,
        "totalDurationMs": took_ms,
        "totalTokens": sum(agent.last),
        "totalToolUseCount": agent.tool_uses,
        "usage": full_usage_fields(agent.last),
        "toolStats": agent.stats,
    }
