"""Runbook texts for tests: a double charge, a single refund, and a table that fills up."""

DOUBLE = """---
id: shop.double-charge
version: 1
severity: high
owner: billing
review_by: 2027-05-31
utterances: [billed twice, charged two times, double charge, two charges on one night, customers paid twice]
slots:
  job: {type: text, from: config, default: invoice-retry}
  canary: {type: integer, from: config, default: 10}
  rows: {type: integer, from: probe, value: result.found.count}
probe: {tool: charges.duplicates, condition: result.count > 0}
nothing_wrong: No charge of last night stands twice, so nothing was changed.
steps:
  - id: pause
    tool: jobs.pause
    effect: write
    args: {job: {ref: inputs.job}}
    expect: result.paused
    backout: Start the job again.
  - {id: look, tool: charges.duplicates, effect: read, args: {}, expect: result.count > 0}
  - id: refund
    tool: charges.refund_batch
    effect: write
    args: {}
    batch: {of: {ref: steps.look.found}, into: charges, size: 500}
    expect: result.refunded == args.charges.count
    backout: Refunds cannot be taken back.
backout: Start the job again; refunds stay.
---
# Double charge

Pause the job, then look, then refund.
"""

REFUND = """---
id: shop.single-refund
version: 4
severity: low
owner: support
review_by: 2027-05-31
utterances: [refund one charge, money back for a customer, give back this payment, refund please, return one payment]
slots:
  charge: {type: charge, from: request, ask: 'which charge (like ch_1a2b3c4d5e6f)'}
  amount: {type: amount, from: probe, value: result.amount}
probe:
  tool: charges.show
  args: {charge: {ref: inputs.charge}}
  condition: result.refunded == 0
  ask: {when: result.customers > 1, text: 'Several customers have that name; which e-mail address is it?'}
nothing_wrong: That charge was refunded before.
steps:
  - id: refund
    tool: charges.refund
    effect: write
    args: {charge: {ref: inputs.charge}, amount: {ref: inputs.amount}}
    expect: result.refunded == 1
    backout: A refund cannot be taken back.
backout: None.
---
# Single refund
"""

TABLE = """---
id: db.table-full
version: 2
severity: high
owner: platform
review_by: 2027-05-31
utterances: [disk is full, table too large, no space left, volume runs full, storage nearly full]
probe: {tool: charges.duplicates, args: {night: any}, condition: result.count > 90}
nothing_wrong: There is room enough.
steps:
  - id: drop
    tool: tables.drop
    effect: destructive
    args: {table: audit}
    expect: result.dropped
    backout: Restore the table from the backup of last night.
backout: Restore the backup.
---
# Table full
"""
