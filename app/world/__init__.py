"""The demo business, Northwind Metering: billing, tickets and cloud over HTTP; not part of the product.

It imports nothing of the other rooms, allows harm on purpose, and misbehaves under named faults.
"""
