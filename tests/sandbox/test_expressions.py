"""The graph: references, functions of functions, what is remembered and what must not be."""

from typing import Any

import pytest

from sandbox.assets import Assets
from sandbox.expressions import Evaluation, functions_used
from sandbox.functions.binding import Registry
from sandbox.functions.registry import FUNCTIONS
from sandbox.refusals import Refusal


def invoke(name: str, **arguments: Any) -> dict[str, Any]:
    return {"functionInvocationValue": {"functionName": name, "arguments": arguments}}


def constant(value: Any) -> dict[str, Any]:
    return {"constantValue": value}


def argument(name: str) -> dict[str, Any]:
    return {"argumentReference": name}


def reference(key: str) -> dict[str, Any]:
    return {"valueReference": key}


def function(body: str, *names: str) -> dict[str, Any]:
    return {"functionDefinitionValue": {"argumentNames": list(names), "body": body}}


def evaluate(result: Any, earth: Any, functions: Any = FUNCTIONS, **values: Any) -> Any:
    graph = {"result": "result", "values": {"result": result, **values}}
    return Evaluation(graph, functions=functions, assets=Assets(earth)).result()


@pytest.mark.parametrize(
    ("node", "value"),
    [
        ({"constantValue": {"a": [1, None]}}, {"a": [1, None]}),
        ({"integerValue": "9007199254740993"}, 9007199254740993),
        ({"bytesValue": "AAE="}, b"\x00\x01"),
        ({"arrayValue": {"values": [{"constantValue": 1}, {"constantValue": "x"}]}}, [1, "x"]),
        ({"dictionaryValue": {"values": {"k": {"constantValue": 2}}}}, {"k": 2}),
        ({"arrayValue": {}}, []),
    ],
)
def test_every_kind_of_literal_is_read(earth, node, value):
    assert evaluate(node, earth) == value


def test_arguments_may_be_constants_references_or_lists_of_both(earth):
    listed = {"arrayValue": {"values": [reference("x"), constant("b")]}}
    assert evaluate(invoke("List.size", list=listed), earth, x=constant("a")) == 2
    assert evaluate(invoke("List.join", list=reference("l")), earth, l=constant(["a", "b"])) == "ab"


def counting() -> tuple[dict[str, Any], list[Any]]:
    registry, calls = Registry(), []

    @registry.function("Number.abs")
    def seen(input_: float) -> float:
        calls.append(input_)
        return input_

    return {**FUNCTIONS, **registry.functions}, calls


def test_a_shared_node_is_evaluated_once(earth):
    functions, calls = counting()
    shared = invoke("Number.abs", input=constant(3))
    total = invoke("Number.add", left=reference("s"), right=reference("s"))
    assert evaluate(total, earth, functions, s=shared) == 6
    assert calls == [3]


def test_a_shared_node_inside_a_mapped_function_is_evaluated_once_for_each_element(earth):
    functions, calls = counting()
    mapped = invoke("List.map", list=constant([1, 2, 3]), baseAlgorithm=function("body", "x"))
    body = invoke("Number.add", left=reference("s"), right=reference("s"))
    shared = invoke("Number.abs", input=argument("x"))
    assert evaluate(mapped, earth, functions, body=body, s=shared) == [2, 4, 6]
    assert calls == [1, 2, 3]


def test_inside_a_mapped_function_what_does_not_depend_on_the_element_is_evaluated_once(earth):
    functions, calls = counting()
    mapped = invoke("List.map", list=constant([1, 2, 3]), baseAlgorithm=function("body", "x"))
    body = invoke("Number.add", left=argument("x"), right=reference("s"))
    assert evaluate(mapped, earth, functions, body=body, s=invoke("Number.abs", input=constant(10))) == [
        11,
        12,
        13,
    ]
    assert calls == [10]


def test_inner_functions_see_outer_arguments_and_outer_values_are_remembered_for_each_outer_element(earth):
    functions, calls = counting()
    outer = invoke("List.map", list=constant([10, 20]), baseAlgorithm=function("inner", "o"))
    inner = invoke("List.map", list=constant([1, 2]), baseAlgorithm=function("body", "i"))
    body = invoke("Number.add", left=reference("s"), right=argument("i"))
    shared = invoke("Number.abs", input=argument("o"))
    assert evaluate(outer, earth, functions, inner=inner, body=body, s=shared) == [[11, 12], [21, 22]]
    assert calls == [10, 20]


def test_only_the_chosen_branch_of_a_condition_is_evaluated(earth):
    wrong = invoke("Dictionary.get", dictionary=constant({}), key=constant("x"))
    assert (
        evaluate(invoke("If", condition=constant(1), trueCase=constant("t"), falseCase=wrong), earth) == "t"
    )
    assert (
        evaluate(invoke("If", condition=constant(None), trueCase=wrong, falseCase=constant("f")), earth)
        == "f"
    )


def test_a_chain_of_a_thousand_functions_is_evaluated(shared_server, earth):
    values = {"0": constant(0)}
    for number in range(1, 1001):
        values[str(number)] = invoke("Number.add", left=reference(str(number - 1)), right=constant(1))
    assert evaluate(reference("1000"), earth, **values) == 1000


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (invoke("Image.teleport"), "Unknown function 'Image.teleport'"),
        (reference("nowhere"), "Undefined value reference 'nowhere'"),
        (argument("x"), "Unbound argument reference 'x'"),
        ({"strangeValue": 1}, "strangeValue"),
        (invoke("List.size"), "List.size: Parameter 'list' is required and may not be null."),
        (
            invoke("List.size", list=constant(3)),
            "List.size: Parameter 'list': Invalid type. Expected type: List<Object>. Actual type: Integer.",
        ),
        (
            invoke("List.size", list=constant([]), speed=constant(1)),
            "does not implement the argument(s) speed",
        ),
    ],
)
def test_a_graph_that_can_not_be_evaluated_is_refused_with_the_reason(earth, node, message):
    with pytest.raises(Refusal) as refused:
        evaluate(node, earth)
    assert refused.value.status == 400
    assert message in refused.value.message


def test_something_that_is_no_graph_is_refused(earth):
    with pytest.raises(Refusal, match="must have 'result' and 'values'"):
        Evaluation({"result": "0"}, functions=FUNCTIONS, assets=Assets(earth))


def test_functions_are_counted_as_they_are_written_and_data_is_not_looked_at():
    graph = {
        "result": "0",
        "values": {
            "0": invoke("Image.select", input=invoke("Image.load", id=constant("x"))),
            "1": constant({"functionName": "not a function"}),
            "2": invoke("Image.load", id=constant("y")),
        },
    }
    assert functions_used(graph) == {"Image.load": 2, "Image.select": 1}
    assert functions_used(None) == {}
