"""Which column of an exported bill is which, by its headings.

Where the headings are from, November 2026:

- DeepSeek (platform.deepseek.com/usage, Export: a ZIP of ``cost-*.csv`` and ``amount-*.csv``): from public programs
  that read these files and their tests. Until summer 2026 ``utc_date``, since then ``start_time_iso`` with its offset.
- Alibaba Cloud (Expenses and Costs, Bill Details, by day, product Model Studio): the English names and the form of the
  instance ID from its help pages ("Bill details", "Detailed file format", "Bill query and cost management"), the
  Chinese ones from the same pages and from public programs that read the file. No real file was at hand.
- Volcano Engine (bill details by day): the names of its API ListBillDetail (volcengine.com/docs/6269/1127842); their
  Chinese terms mostly from a public program's list of fields. No real file was at hand, and which column names the
  model is an assumption.

Any other bill, and any of these that changed: ``--columns``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

ROLES: Final = ("date", "model", "amount", "currency", "tokens", "price", "type")
"""What a column may be. ``price``: of one token, times ``tokens`` where there is no ``amount``; ``type``: of tokens."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A bill's headings by role, those preferred first, and how its cells are read."""

    name: str
    columns: Mapping[str, Sequence[str]]
    kinds: tuple[str, ...] = ()
    """The kinds of provider that write such bills."""
    timezone: str = "UTC"
    """Of its days."""
    required: tuple[str, ...] = ("date", "model", "amount")
    skipped_types: frozenset[str] = field(default_factory=frozenset)
    """Lines that count something else than tokens."""


INSTANCES: Final = ("实例ID", "资产/资源实例ID", "Instance ID", "InstanceId")
"""Headings of columns in which a model is a part of an instance's ID."""

_DEEPSEEK_DAY: Final = ("start_time_iso", "utc_date")

LAYOUTS: Final = (
    Layout(
        name="DeepSeek's cost file",
        columns=MappingProxyType(
            {"date": _DEEPSEEK_DAY, "model": ("model",), "amount": ("cost",), "currency": ("currency",)}
        ),
        kinds=("deepseek",),
        timezone="Asia/Shanghai",
    ),
    Layout(
        name="DeepSeek's amount file",
        columns=MappingProxyType(
            {"date": _DEEPSEEK_DAY, "model": ("model",), "tokens": ("amount",), "price": ("price",), "type": ("type",)}
        ),
        kinds=("deepseek",),
        timezone="Asia/Shanghai",
        required=("date", "model", "tokens", "price", "type"),
        skipped_types=frozenset({"request_count"}),
    ),
    Layout(
        name="Volcano Engine's bill",
        columns=MappingProxyType({
            "date": ("账单日期", "消费日期", "ExpenseDate", "消费开始时间", "ExpenseBeginTime", "Billing date"),
            "model": ("配置名称", "ConfigName", "Configuration name"),
            "amount": ("应付金额", "PayableAmount", "Payable amount", "Amount payable"),
            "currency": ("币种", "Currency"),
        }),
        kinds=("ark",),
        timezone="Asia/Shanghai",
    ),
    Layout(
        name="Alibaba Cloud's bill",
        columns=MappingProxyType({
            "date": ("账单日期", "消费时间", "BillingDate", "Billing Date", "UsageStartTime", "Usage Start Time"),
            "model": INSTANCES,
            "amount": (
                "应付金额", "优惠后金额", "PretaxAmount", "Pretax Amount", "Payable Amount", "Amount After Reduction",
                "Amount After Price Reduction",
            ),
            "currency": ("币种", "定价币种", "Currency"),
        }),
        kinds=("dashscope",),
        timezone="Asia/Shanghai",
    ),
)  # fmt: skip
"""Every bill that is known by its headings; the first that fits is taken."""

UTC_DAYS: Final = ("utc_date",)
"""Headings that say what their days are."""

OTHER: Final = Layout(name="the columns given", columns=MappingProxyType({}), required=("date", "amount"))
"""A bill of which ``--columns`` says everything."""
