"""Long operations: followed and cancelled."""

from __future__ import annotations

from skerry.api.operations import NoSuchOperation, Operation
from skerry.api.table import Call, OperationPage, Page, Paged, Routes

routes = Routes("operations")


@routes.add("get", "/v1/operations", "List the operations, newest first", "*", gives=OperationPage, query=Paged)
async def list_operations(call: Call) -> Page[Operation]:
    """Those of this token; with roles read or operator, all. The last 1,000 are kept."""
    seen = [each for each in call.operations.all() if _may_see(call, each)]
    at = next((n + 1 for n, each in enumerate(seen) if each.id == call.query.after), 0)
    shown = seen[at : at + call.query.limit]
    return Page(items=shown, next=shown[-1].id if len(seen) > at + len(shown) else None)


@routes.add("get", "/v1/operations/{operation}", "Show an operation", "*", gives=Operation)
async def get_operation(call: Call) -> Operation:
    return the_operation(call)


@routes.add("delete", "/v1/operations/{operation}", "Cancel an operation", "*", gives=Operation)
async def cancel_operation(call: Call) -> Operation:
    """What hosts have accepted goes on all the same. 409 where it is over, or can't be stopped halfway."""
    operation = the_operation(call)
    if operation.token != call.bearer.name:
        call.bearer.demand()
    return await call.operations.cancel(operation.id)


def the_operation(call: Call) -> Operation:
    """One that this token may see. Raises NoSuchOperation, also for others'."""
    operation = call.operations.get(call.path["operation"])
    if not _may_see(call, operation):
        raise NoSuchOperation(f"there is no operation {operation.id} of this token", "", "see /v1/operations")
    return operation


def _may_see(call: Call, operation: Operation) -> bool:
    return operation.token == call.bearer.name or call.bearer.may("read")
