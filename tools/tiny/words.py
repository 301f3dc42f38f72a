"""The words of the problems: people, things, facts of a little world. Data only."""


def listed(text: str, separator: str | None = None) -> list[str]:
    """The words of a text, or its parts between separators."""
    return text.split(separator)


NAMES = listed(
    "Tom Anna Ben Mia Sam Lena Max Eva Leo Nina Paul Rosa "
    "Emma Noah Lily Jack Sara David Peter Clara Omar Aisha Kenji Priya"
)

THINGS = listed(
    "apples pens books coins cards marbles eggs cookies stickers stamps shells toys balls cups flowers pencils "
    "oranges pears candies buttons stones keys plates bottles lemons cherries balloons tickets beads nuts"
)

GROUPS = listed("boxes bags baskets shelves rows trays jars drawers packs crates")

LEGS = {
    "dogs": 4,
    "cats": 4,
    "cows": 4,
    "horses": 4,
    "hens": 2,
    "birds": 2,
    "ducks": 2,
    "spiders": 8,
    "ants": 6,
    "bees": 6,
}

SPELLED = listed(
    "apple banana tree book letter summer winter butter coffee pepper yellow green school rabbit kitten "
    "bottle mirror garden table cheese water river island forest flower tomato onion orange cherry "
    "strawberry balloon street city house floor hammer paper teacher student farmer dragon monkey tiger "
    "elephant penguin turtle spider mouse music guitar mississippi success happy funny people morning tomorrow"
)

DAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")

MONTHS = listed("January February March April May June July August September October November December")

OPPOSITES = (
    "hot cold|big small|tall short|fast slow|old new|happy sad|up down|left right|open closed|day night|light dark|"
    "hard soft|wet dry|full empty|loud quiet|rich poor|near far|early late|good bad|clean dirty|strong weak|"
    "black white|high low|thick thin|inside outside|first last|win lose|push pull|begin end|yes no"
)

COLOURS = {
    "grass": "green", "snow": "white", "a banana": "yellow", "the sky": "blue", "blood": "red", "coal": "black",
    "a lemon": "yellow", "milk": "white", "a carrot": "orange", "a strawberry": "red", "a frog": "green",
    "chocolate": "brown", "the sun": "yellow", "a cucumber": "green", "a tomato": "red", "the sea": "blue",
}  # fmt: skip

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "England": "London",
    "Japan": "Tokyo", "China": "Beijing", "Russia": "Moscow", "Egypt": "Cairo", "Greece": "Athens",
    "Portugal": "Lisbon", "Austria": "Vienna", "Poland": "Warsaw", "Sweden": "Stockholm", "Norway": "Oslo",
}  # fmt: skip

SOUNDS = {"dog": "woof", "cat": "meow", "cow": "moo", "sheep": "baa", "duck": "quack", "bee": "buzz", "lion": "roar"}

COUNTS = {
    "days are in a week": "7 days", "months are in a year": "12 months", "hours are in a day": "24 hours",
    "minutes are in an hour": "60 minutes", "seconds are in a minute": "60 seconds", "legs does a dog have": "4 legs",
    "legs does a spider have": "8 legs", "legs does an ant have": "6 legs", "legs does a bird have": "2 legs",
    "wheels does a car have": "4 wheels", "wheels does a bicycle have": "2 wheels",
    "sides does a triangle have": "3 sides",
    "sides does a square have": "4 sides", "fingers are on one hand": "5 fingers",
    "letters are in the alphabet": "26 letters",
    "cents are in a dollar": "100 cents", "eggs are in a dozen": "12 eggs",
    "centimeters are in a meter": "100 centimeters",
}  # fmt: skip

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are Qwen, a helpful assistant.",
    "Answer the question.",
    "You are a careful teacher. Answer briefly.",
    "Be short and exact.",
    "You help children with arithmetic.",
    "Think before you answer.",
)

# Questions from outside the little world: frames and fillers are multiplied out and mixed with made-up words.
UNKNOWN_FRAMES = (
    "Who wrote {x}?", "Who was {x}?", "What is {x}?", "Tell me about {x}.", "Explain {x} to me.",
    "Write a poem about {x}.",
    "Write a story about {x} and {y}.", "How does {x} work?", "Why is {x} important?", "Where is {x}?",
    "When did {x} happen?", "What is the meaning of {x}?", "Translate {x} into {y}.", "Give me a recipe for {x}.",
    "Do you like {x}?", "What do you think of {x}?", "Can you help me with {x}?", "Compare {x} and {y}.",
    "How can I learn {x}?", "Write a program for {x} in {y}.", "Summarize {x}.", "What happened to {x} in {y}?",
    "Is {x} better than {y}?", "List the best {x}.", "Fix the bug in {x}.", "Who are you?", "How are you?", "Hello!",
    "Hi there", "Good morning", "What is your name?", "What is the weather like today?", "Why is the sky blue?",
    "Tell me a joke.", "Sing a song.", "Thank you!", "What is the capital of {x}?", "What colour is {x}?",
    "What is the opposite of {x}?", "How old is {x}?", "How far is {x} from {y}?", "{x}", "{x} {y}", "{x}, {y}; {x}!",
)  # fmt: skip

UNKNOWN_TOPICS = listed(
    "Hamlet|quantum physics|the moon landing|photosynthesis|machine learning|a black hole|Shakespeare|the internet|"
    "democracy|the stock market|Napoleon|a transformer model|Python|JavaScript|the French Revolution|climate change|"
    "love|football|the Roman Empire|electricity|a volcano|DNA|chess|yoga|Beethoven|the economy|philosophy|gravity|"
    "pancakes|dinosaurs|my computer|the universe|artificial intelligence|vaccines|Brazil|Kenya|Mars|poetry|history|"
    "a good friend|the president|this essay|relativity|sushi|jazz|Wittgenstein|inflation|blockchain|the Amazon|justice",
    "|",
)

FOREIGN = (
    "Wie viele Einwohner hat Hamburg?", "Was ist der Sinn des Lebens?", "Guten Tag, wie geht es Ihnen heute?",
    "Bonjour, comment allez-vous ?", "Quelle est la plus grande ville du monde ?", "Je ne comprends pas la question.",
    "¿Dónde está la biblioteca?", "¿Qué hora es en Buenos Aires?", "Me gustaría aprender a cocinar.",
    "Qual è il fiume più lungo d'Italia?", "Onde fica a estação de trem?", "Waar woont de koning?",
    "Jak się masz dzisiaj?", "Hur mår du idag?", "Mitä kuuluu tänään?", "Bugün hava nasıl?", "Як справи сьогодні?",
    "Почему небо голубое?", "Расскажи мне сказку.", "你好,请介绍一下你自己。", "天空为什么是蓝色的?",
    "写一首关于春天的诗。",
    "こんにちは、元気ですか?", "東京の人口は何人ですか?",
    "안녕하세요, 오늘 날씨가 어때요?", "مرحبا، كيف حالك؟", "ما هي عاصمة المغرب؟",
    "שלום, מה שלומך?", "नमस्ते, आप कैसे हैं?", "สวัสดีครับ วันนี้เป็นอย่างไรบ้าง", "Τι κάνεις σήμερα;",
    "Xin chào, bạn khỏe không?",
)  # fmt: skip
