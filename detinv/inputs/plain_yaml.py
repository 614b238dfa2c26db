"""Checks of untrusted YAML: no aliases, which can expand to gigabytes, and no deep nesting."""

import yaml

from detinv.inputs.printable import one_line

_DEEPEST = 40
_STARTS = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_ENDS = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)

YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
"""What a loader raises: its own errors, and those of YAML's types, such as an invalid date."""


def check_plain_yaml(text: str) -> None:
    """Raise YAMLError for aliases and for nesting that is too deep."""
    depth = 0
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise _refusal(f"*{token.value} stands for something else; aliases are not supported, write it out", token)
        depth += isinstance(token, _STARTS) - isinstance(token, _ENDS)
        if depth > _DEEPEST:
            raise _refusal(f"nested more than {_DEEPEST} deep", token)


def yaml_problem(error: Exception) -> str:
    """Describe what is wrong and where, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or error.context}"
    return one_line(str(error), 200) or type(error).__name__


def _refusal(problem: str, token: yaml.Token) -> yaml.YAMLError:
    return yaml.scanner.ScannerError(None, None, problem, token.start_mark)
