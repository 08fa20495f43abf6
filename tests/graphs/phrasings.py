"""Requests in words of their own, kept apart from the runbooks' utterances, and what each should lead to."""

ASK = "a question"

PHRASINGS = (
    ("customers say they were billed twice on Friday night, fix it", "billing.double-charge"),
    ("lots of people got charged two times yesterday evening", "billing.double-charge"),
    ("the invoice retry seems to have taken payments a second time", "billing.double-charge"),
    ("we have duplicate charges on thousands of accounts", "billing.double-charge"),
    ("please refund charge ch_1a2b3c4d5e6f to the customer", "billing.single-refund"),
    ("Ann Lee wants her money back for payment ch_1a2b3c4d5e6f", "billing.single-refund"),
    ("can you refund ch_1a2b3c4d5e6f, it was one charge too many", "billing.single-refund"),
    ("the main database server is running out of disk space", "db.disk-full"),
    ("alert: postgres storage nearly full", "db.disk-full"),
    ("volume of the database at 94 percent", "db.disk-full"),
    ("something is wrong with the money", ASK),
)
OUT_OF_SCOPE = (
    "what is the weather like tomorrow",
    "rotate the api credentials of the mail gateway",
    "book a meeting room for Tuesday",
    "restart the hung worker",
    "hello",
)
