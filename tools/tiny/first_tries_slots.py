"""The words of the slots in the wordings of first tries. Data only."""

from tiny.words import NAMES, listed

SLOTS = {
    "name": NAMES,
    "hello": listed(
        "hello|hello|hello|hi|hi|hey there|hiya|howdy|hello there|hi there|greetings|hallo|heya|hello hello",
        "|",
    ),
    "friend": listed(
        "friend|tiny|world|model|robot|bot|assistant|AI|qwen|buddy|machine|my friend|you|everyone|all|again|mate|"
        "dear|sir|program|thing|little one|qwen3cpu",
        "|",
    ),
    "time": listed("morning|morning|day|afternoon", "|"),
    "are_you": listed(
        "are you|are you|are u|r u|is this|am I talking to|am I speaking to|am I chatting with|so are you|you are",
        "|",
    ),
    "being": listed(
        "a robot|a bot|an AI|a human|a person|real|Qwen|Claude|GPT-4|GPT|Gemini|Llama|Siri|Alexa|Google|a computer|"
        "a language model|alive|an assistant|a machine|a program|human|a chatbot|the model|a real person|"
        "a large model|Mistral|DeepSeek|Copilot|a woman|a man|an LLM|artificial|open source|OpenAI|tiny|Qwen3|"
        "somebody",
        "|",
    ),
    "made": listed("made|built|created|trained|wrote|developed|programmed|designed|invented|owns|runs", "|"),
    "sort": listed(
        "program|thing|model|bot|assistant|robot|machine|chatbot|language model|system|creature|software",
        "|",
    ),
    "kind": listed("kind of|sort of|type of", "|"),
    "fact": listed(
        "name|version|size|model name|full name|story|background|identity|maker|origin|real name|nickname",
        "|",
    ),
    "say": listed(
        "tell me|please tell me|can you tell me|say|explain|could you tell me|I want to know|I would like to know|"
        "I wonder|do you know|let me know|show me",
        "|",
    ),
    "skills": listed(
        "abilities|skills|capabilities|talents|features|functions|strengths|powers|limits|options|commands|"
        "possibilities",
        "|",
    ),
    "purpose": listed("purpose|job|task|function|use|role|goal|speciality", "|"),
    "made_for": listed(
        "for|made for|here for|used for|meant for|trained for|built for|there for|useful for|able to do|capable of|"
        "supposed to do|able to answer|trained on|intended for|able to help with",
        "|",
    ),
    "things": listed("questions|problems|tasks|things|sums|exercises|requests|topics|stuff|puzzles", "|"),
    "solve": listed("answer|solve|do|handle|understand|work on|help with|explain|work out", "|"),
    "math": listed(
        "math|maths|arithmetic|sums|calculations|mathematics|adding|numbers|counting|homework|my homework|"
        "math homework|word problems|calculating|multiplication",
        "|",
    ),
    "do_math": listed(
        "do math|do maths|calculate|do arithmetic|add numbers|count|do sums|solve problems|help with math|"
        "help me with math|help me with my homework|help with homework|add|multiply|subtract|work with numbers|"
        "solve word problems|think|answer questions|answer my questions|talk|read|speak English|do anything|"
        "do anything useful|do something|do more|do more than that|work|learn|compute",
        "|",
    ),
    "should": listed("should|may|could|shall|do", "|"),
    "works": listed(
        "how do I use you|how do I use this|how does this work|how do you work|how do I start|how do we start|"
        "where do I start|where do I begin|how do I begin|what now|what next|and now what|what do I do|"
        "what do I do now|what do I do here|what can I do here|what can I do with you|what can I do with this|"
        "what is this for|what is this good for|how to use this|how to start|where to start|what is possible|"
        "what is possible here|what should I do|what happens now",
        "|",
    ),
    "adjective": listed(
        "great|helpful|nice|the best|good|awesome|clever|smart|kind|very helpful|so smart|amazing|cool|wonderful|"
        "right|fast",
        "|",
    ),
    "help_noun": listed(
        "the help|your help|helping|helping me|everything|the answer|your answer|that|this|your time|the support|all|"
        "the quick answer|the explanation|answering",
        "|",
    ),
    "praise": listed(
        "great|ok|okay|perfect|cool|nice|wow|good|super|excellent|wonderful|awesome|right|yes|fine|alright|lovely|oh",
        "|",
    ),
    "thanks": listed(
        "thanks|thanks|thank you|thank you|thank you very much|thank you so much|many thanks|thx|ty|thanks so much|"
        "thank u|thanks very much|thanks a bunch|a big thank you",
        "|",
    ),
    "part": listed("day|evening|night|weekend|one|time|week|afternoon|morning", "|"),
    "nice": listed("nice|good|great|lovely|wonderful|fine|pleasant", "|"),
    "leave": listed("go|leave|stop|run|go home|sleep|go to bed|go to work|eat|be off|log off|finish", "|"),
    "mood": listed(
        "ok|okay|well|fine|happy|sad|tired|bored|busy|hungry|good|all right|alright|in a good mood|feeling well|"
        "feeling good|lonely|angry|awake today|excited|healthy",
        "|",
    ),
    "feel": listed("feelings|emotions|a good day|fun|a nice day|moods|a good time", "|"),
    "work": listed(
        "a poem|a story|a song|an essay|a letter|a haiku|an email|a rap|a novel|a limerick|a speech|a tweet|"
        "a blog post|a book|a script|a report|a program|a function|a Python script|a website|some code|a short poem|"
        "a long story|a love letter|a love poem|a nice story|a text|an article|a paragraph|a sonnet|a list|a play|"
        "a review|a cover letter|a game|a joke|an app|a fairy tale|lyrics|a summary|a short story|a rhyme",
        "|",
    ),
    "told": listed(
        "a joke|another joke|a story|a riddle|a fairy tale|a secret|a lie|a bedtime story|a fun fact|a short story|"
        "a good story|jokes|the news|the time|the date|the weather|some news|the latest news|a bad joke|"
        "a scary story|gossip|a long story|today's date|something new|my future|my horoscope",
        "|",
    ),
    "subject": listed(
        "{topic}|{topic}|{topic}|the ocean|the moon|a cat|a dog|my mother|spring|the rain|a dragon|rain|winter|"
        "friendship|a princess|my cat|trees|flowers|the sun|stars|autumn|a robot|summer|cats|a rabbit|the forest|"
        "a river",
        "|",
    ),
    "make": listed(
        "write|write|write me|write me|write for me|compose|make|make me|create|generate|give me|draft|produce|"
        "invent|write down|I want|I need|I'd like|give us",
        "|",
    ),
    "ask": listed(
        "|||||can you |could you |please |will you |would you |I want you to |can you please |you should |try to |"
        "I need you to |go and |would you please |",
        "|",
    ),
    "place": listed(
        "Paris|London|New York|Tokyo|Rome|Madrid|my city|Germany|India|Sydney|Moscow|Vienna|Cairo|Hamburg|Munich|"
        "Oslo|the mountains|Spain|Texas|Boston|Beijing|here|my town|Athens|Chicago|Italy",
        "|",
    ),
    "day": listed(
        "today|tomorrow|this week|tonight|right now|outside|now|on Monday|on Sunday|this weekend|this morning|"
        "at the moment",
        "|",
    ),
    "sky": listed("raining|sunny|cold|warm|hot|snowing|windy|cloudy|dark|foggy|stormy", "|"),
    "language": listed(
        "French|German|Spanish|Italian|Chinese|Japanese|Russian|Latin|Arabic|English|Dutch|Polish|Korean|Portuguese|"
        "Greek|Swedish|Hindi|Turkish",
        "|",
    ),
    "phrase": listed(
        "hello|thank you|I love you|good night|the cat is black|this|this text|this sentence|water|house|how are you|"
        "where is the station|my name is {name}|good day|please|a dog|bread|one beer please|see you soon|{topic}|"
        "the book|happy birthday|welcome|yes|friend|cheese|I am hungry",
        "|",
    ),
    "picture": listed(
        "a picture|a cat|a dog|a house|an image|a tree|a face|a horse|a portrait|a flower|a map|a logo|{topic}",
        "|",
    ),
    "played": listed(
        "music|chess|a game|a song|a video|some music|jazz|tic tac toe|cards with me|chess with me|a game with me|"
        "the piano|the radio",
        "|",
    ),
    "errand": listed(
        "send an email to {name}|call {name}|set an alarm|set a timer|remind me tomorrow|book a flight|book a table|"
        "book a hotel|order a pizza|order food|buy milk|search the web for {topic}|search for {topic}|google {topic}|"
        "open the browser|open a website|turn on the light|turn off the light|read my email|make coffee|cook dinner|"
        "clean my room|drive my car|pay my bills|do my taxes|check my email|fix my computer|fix my code|"
        "debug my code|review my code|draw {picture}|paint {picture}|show me {picture}|make {picture}|play {played}|"
        "sing|sing for me|dance|sing {told}|find a restaurant|find {name}|download a file|delete my files|"
        "run a program|summarize this|summarize {topic}|summarize this text|translate this|translate {phrase}|"
        "correct my text|proofread this|rewrite this|recommend a book|recommend a movie|recommend a song|"
        "recommend a restaurant|suggest a name|suggest a book|plan my trip|plan a trip to {place}|plan my day|"
        "predict the future|read my mind|tell my future|give me advice|give me money|give me a recipe|"
        "give me a recipe for {topic}|give me a recipe for soup|give me a tip|teach me {language}|speak {language}|"
        "talk to me in {language}",
        "|",
    ),
    "now": listed(
        "what time is it|what time is it now|what is the time|what is the time now|do you know the time|"
        "what date is it|what day is it|what day is it today|what is the date|what is the date today|"
        "what is today's date|what year is it|which year is it|what month is it|what is the news|"
        "what is new in the news|any news|what happened today|what happened yesterday|who won the game|"
        "who won the election|who won the world cup|who won yesterday|where am I|who am I|what is my name|"
        "how old am I|what is my age|where do I live|what am I thinking|what did I eat today|what is on TV|"
        "what do I look like|what is in the news today",
        "|",
    ),
    "bye": listed(
        "bye|bye|bye bye|goodbye|goodbye|see you|see you|see ya|good night|ciao|farewell|take care|so long|cheerio|"
        "adios|cu",
        "|",
    ),
    "when": listed(
        "soon|tomorrow|around|again|on Monday|on Friday|tonight|next week|in a bit|there|some time|another day|"
        "next time|next year|in the {time}|one day|at work|then|this {part}|in a minute|in {place}",
        "|",
    ),
    "much": listed(
        "very much|so much|a million|a ton|a bunch|again|in advance|anyway|indeed|everyone|all|kindly|ever so much|"
        "too|for now|very very much|heaps|million times|tons|loads",
        "|",
    ),
}

NUMBER_WORDS = listed("zero one two three four five six seven eight nine ten eleven twelve")
