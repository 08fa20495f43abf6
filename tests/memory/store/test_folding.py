"""Folding: what people see as the same word is the same word, on both sides of the index."""

import unicodedata

import pytest

from memory.postgres.database import Database
from memory.scope import Access
from tests.memory.store.test_search import Say, own_access, say
from tests.memory.store.test_words import bodies

__all__ = ["own_access", "say"]
pytestmark = pytest.mark.anyio

PAIRS = {
    "composed": ("the café in Zürich", unicodedata.normalize("NFD", "café Zürich")),
    "decomposed": (unicodedata.normalize("NFD", "the résumé of Łukasz"), "résumé"),
    "without accents": ("Dvořák plays in Łódź", "Dvorak Lodz"),
    "with accents": ("Dvorak plays in Lodz", "Dvořák Łódź"),
    "kana decomposed": ("がっこうは東京です", unicodedata.normalize("NFD", "がっこう")),
    "hangul decomposed": ("내일 서울에서 회의가 있습니다", unicodedata.normalize("NFD", "서울")),
    "full-width digits": ("order ４２１７ is late", "order 4217"),
    "full-width letters": ("server ＡＢＣ is down", "abc"),
    "half-width kana": ("サーバーは東京です", "ｻｰﾊﾞｰ"),
    "katakana": ("カメラを買った", "かめら"),
    "hiragana": ("らーめんが好きです", "ラーメン"),
    "arabic with vowel signs": ("كَتَبَ الوَلَدُ رسالة", "كتب الولد"),
    "arabic without vowel signs": ("ذهب أحمد إلى المدرسة", "أَحْمَد"),
    "arabic digits": ("الطلب ٤٢١٧ متأخر", "4217"),
    "devanagari digits": ("order ४२१७ is late", "4217"),
    "hebrew with points": ("שָׁלוֹם לכולם", "שלום"),
    "ligature": ("the oﬃce in the ﬁrst ﬂoor", "office first floor"),
    "greek final sigma": ("ο δρόμος είναι κλειστός", "ΔΡΟΜΟΣ"),
    "cyrillic": ("встреча с Фёдором", "федором"),
    "sharp s": ("Straße gesperrt", "STRASSE"),
    "turkish": ("İstanbul ofisi taşındı", "istanbul"),
    "version": ("we run v2.10.3 since May", "2.10.3"),
    "version with v": ("we run 2.10.3 since May", "v2.10.3"),
    "thousands": ("the invoice was 1,234.50 euros", "1234.50"),
    "thousands in the question": ("the invoice was 1234567.50 euros", "1,234,567.50"),
    "thai": ("ฉันชอบกินข้าวผัดที่บ้าน", "ข้าวผัด"),
    "mixed scripts": ("iPhoneの充電器はデスクの上", "ＩＰＨＯＮＥ 充電器"),
    "no width": ("the pass\u00adword is in the va\u200bult", "password vault"),
    "hyphen": ("the e\u2011mail goes out", "e-mail"),
    "pair of emoji": ("the family 👩\u200d👩\u200d👧 plan", "👩\u200d👩\u200d👧"),
    "emoji": ("likes 🍕 on Fridays", "🍕"),
    "korean with a particle": ("회의는 금요일에 있습니다", "금요일"),
    "devanagari": ("भुगतान शुक्रवार को है", "शुक्रवार"),
    "identifier": ("customer CUST-00042 is blocked", "cust-00042"),
    "address": ("write to jo.doe+x@example.com", "Jo.Doe+x@example.com"),
    "capitals beyond a to z": ("Η πληρωμή στην ΑΘΗΝΑ", "αθήνα"),
    "apostrophe": ("that is O’Brien of sales", "O'Brien"),
}
"""A text, and a question with its words in another form."""


@pytest.mark.parametrize("name", PAIRS)
async def test_a_word_is_found_in_whatever_form_it_is_asked_for(
    database: Database, own_access: Access, say: Say, name: str
) -> None:
    """The text first of all, and texts without the word not at all."""
    text, question = PAIRS[name]
    await say("the weather was nice in spring")
    await say(text)
    await say("lunch is at noon, somewhere else")
    assert await bodies(database, own_access, question) == [text]


@pytest.mark.parametrize(
    ("text", "question"),
    [("room 1,2 and 3", "12"), ("model v2 is out", "v3"), ("the code is 1,23", "123"), ("東京に住む", "京都")],
)
async def test_what_differs_stays_different(
    database: Database, own_access: Access, say: Say, text: str, question: str
) -> None:
    await say(text)
    assert await bodies(database, own_access, question) == []
