"""What players of any game write, in ten languages, for the sample reviews. All of it was written for this project."""

# fmt: off
ONE_WORD = (
    "Good", "good game", "nice", "Great!", "meh", "Masterpiece", "fun", "Boring", "10/10", "yes", "no", "refunded",
    "Amazing.", ".", "👍", "❤️❤️❤️", "ok", "gg", "Trash", "worth it", "🔥", "cool", "buy it", "Underrated", "Peak",
    "7/10", "lol", "recommended", "Overpriced", "addictive", "it is fine I guess", "my kids love it",
    "Best of the year",
)
# fmt: on

COPYPASTA = (
    "I installed this for my cat and now my cat has a higher rank than me.",
    "Bought this for my grandmother. She has not cooked since.",
    "Product received for free. I paid with my sleep.",
    "I have played this for three hundred hours and still cannot tell you whether I like it.",
    "My boss asked me what I did at the weekend. I sent him a link to this page.",
    "If you read this, go and drink a glass of water. Then buy the game.",
)

ASCII_ART = (
    " /\\_/\\\n( o.o )  approved by the cat\n > ^ <",
    "  __\n /  \\__\n(    @\\___\n /         O\n/   (_____/   good boy, good game\n/_____/   U",
    "+-----------+\n|  BUY  IT  |\n+-----------+\n   (\\_/)\n   (o.o)\n   (> <)",
    "---{ Graphics }---\n[ ] Potato\n[x] Good\n[ ] Beautiful\n\n---{ Gameplay }---\n[ ] Watching paint dry\n[x] Fun\n\n"
    "---{ Price }---\n[ ] Free\n[x] Worth it\n[ ] Wait for a sale",
    "⠀⠀⢀⣴⣿⣿⣦⡀⠀⠀\n⠀⣰⣿⠛⣿⣿⠛⣿⣆⠀\n⢰⣿⣿⣶⣿⣿⣶⣿⣿⡆\n⠸⣿⣧⠙⠿⠿⠋⣼⣿⠇\n⠀⠈⠻⣿⣶⣶⣿⠟⠁⠀",
    "███████╗\n╚══██╔══╝\n   ██║   en out of ten\n   ██║\n   ╚═╝",
)

OPENERS = (
    "I bought {game} on sale and did not expect much.",
    "I have {hours} hours in {game} now, so here is what I think.",
    "A friend gave me {game} as a present.",
    "I rarely write reviews, but {game} deserves one.",
    "I wanted to like {game}, and here is how that went.",
    "Short version below, long version first.",
    "Having followed {game} since the first trailer, I started it on day one.",
    "I am not the usual player of a {genre}, so take this with a grain of salt.",
    "Played it on a laptop that is older than my nephew.",
    "Third {genre} this year for me.",
    "After {hours} hours I finally saw the credits.",
    "I come back to {game} every few months.",
)

GOOD = (
    "The price is more than fair for what you get.",
    "It runs perfectly on my old machine.",
    "The developers answer in the forum and fix things within days.",
    "Controls are tight and can be remapped completely.",
    "The soundtrack has been on my phone for a week.",
    "It respects your time: save anywhere, quit anywhere.",
    "The art style is simple and gorgeous.",
    "It works flawlessly on the handheld, which is where I play it.",
    "No bugs worth mentioning in my whole time with it.",
    "The tutorial is short and explains everything that matters.",
    "There is far more content than the store page lets on.",
    "Each update has added something real.",
    "You can feel that people who love the genre made this.",
    "The difficulty options are generous and nobody judges you for them.",
    "Accessibility is exemplary: large fonts, colour-blind modes, toggles for everything.",
    "I lost track of time more often than I like to admit.",
    "The writing is funny without trying too hard.",
    "Even my partner, who never plays anything, asked for a turn.",
    "Small team, big heart.",
    "The first hour is slow; after it I could not stop.",
    "It does one thing and does it extremely well.",
    "The menus are quick and clear, which matters more than people think.",
    "There is a demo, so you risk nothing.",
    "It is the kind of game you think about while you brush your teeth.",
)

BAD = (
    "It crashed four times in the first evening.",
    "The price is a joke for so little content.",
    "Controller support is an afterthought.",
    "Loading times feel like the nineties.",
    "The developers have not posted anything for a year.",
    "I ran into a bug that ate my save after {hours} hours.",
    "The camera is the hardest enemy.",
    "The menus were made for a phone and it shows.",
    "Half of the content is sold separately.",
    "It needs an account with the publisher, for no reason that helps me.",
    "Frame rate drops to fifteen whenever something happens.",
    "The tutorial holds your hand for two hours and then explains nothing.",
    "Voice lines repeat until you mute them.",
    "The last third was clearly rushed.",
    "Early access in all but name.",
    "The translation reads as if nobody had checked it.",
    "You cannot skip cutscenes, not even the second time.",
    "Text is unreadable on a television.",
    "I asked for a refund, which tells you enough.",
    "Good ideas, poor execution.",
)

ABOUT_ACTIVITY = (
    "I wanted to {act} for ten minutes and looked up two hours later.",
    "You {act}, you fail, you learn, you try again.",
    "The best evenings are those when you simply {act}.",
    "The first time you {act} you will not know what hit you.",
    "It never gets old to {act}.",
    "Nobody tells you how to {act}, and that is a good thing.",
    "My favourite part is when you get to {act}.",
    "They could have made a whole game in which you only {act}.",
    "I did not expect that I would enjoy having to {act} so much.",
    "It takes a while until you can {act} without thinking.",
    "If the idea to {act} makes you smile, you know already whether this is for you.",
    "At some point I stopped to {act} and just looked around.",
)

VERDICTS_GOOD = (
    "Buy it.",
    "Recommended without reserve.",
    "Worth full price.",
    "Nine out of ten, and the tenth is for the sequel.",
    "One of the best games I played this year.",
    "If you like a good {genre}, get this now.",
    "I am glad that I gave it a chance.",
    "Get it, and get a friend to get it.",
)
VERDICTS_BAD = (
    "Wait for a deep sale.",
    "Not recommended, at least not now.",
    "There are better games of this kind.",
    "Maybe in a year.",
    "I cannot recommend this {genre} in its state.",
    "Save your money.",
    "Avoid.",
)

HEADINGS = (
    "Gameplay",
    "Graphics",
    "Sound",
    "Story",
    "Performance",
    "Multiplayer",
    "Difficulty",
    "Verdict",
    "Bugs",
    "Price",
)

# Steam's code of a language -> sentences of praise, and of complaint.
LANGUAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "russian": (
        (
            "Отличная игра, не мог оторваться весь вечер.",
            "Музыка и атмосфера просто великолепны.",
            "За свою цену — лучшее, что я покупал в этом году.",
            "С друзьями играть веселее всего.",
            "Разработчики слушают игроков и быстро исправляют ошибки.",
            "Сначала кажется сложно, но потом всё становится понятно.",
            "Прошёл два раза и снова хочу начать сначала.",
            "Сюжет затягивает, а концовка меня удивила.",
            "Идёт даже на старом ноутбуке.",
            "Рекомендую всем, кто любит этот жанр.",
        ),
        (
            "Игра вылетает каждые полчаса.",
            "Слишком мало контента за такие деньги.",
            "Управление неудобное, камера мешает.",
            "Перевод на русский ужасный.",
            "Сервера лежат, играть невозможно.",
            "Скучно уже через час, вернул деньги.",
            "Обновлений не было целый год.",
        ),
    ),
    "schinese": (
        (
            "非常好玩，一口气玩到凌晨三点。",
            "画面精美，音乐也很动听。",
            "和朋友一起联机特别欢乐。",
            "价格很良心，内容却很丰富。",
            "剧情感人，结局让我哭了。",
            "操作流畅，没有遇到什么错误。",
            "制作组很用心，更新也很快。",
            "难度适中，新手也能轻松上手。",
            "强烈推荐给喜欢这类游戏的玩家。",
            "已经玩了一百多个小时，还是停不下来。",
        ),
        (
            "优化太差，经常闪退。",
            "内容太少，不值这个价格。",
            "没有中文翻译，看不懂剧情。",
            "玩了一个小时就觉得很无聊。",
            "服务器延迟很高，根本没法玩。",
            "操作手感很差，视角也很奇怪。",
            "已经退款了，不推荐购买。",
        ),
    ),
    "spanish": (
        (
            "Un juego precioso, se me pasaron las horas volando.",
            "La música es una maravilla y los gráficos también.",
            "Jugar con amigos es diversión asegurada.",
            "Por este precio no se puede pedir más.",
            "La historia engancha desde el primer momento.",
            "Los desarrolladores escuchan a la comunidad.",
            "Funciona perfectamente en mi ordenador viejo.",
            "Al principio cuesta, pero luego no puedes parar.",
            "Lo recomiendo sin ninguna duda.",
        ),
        (
            "Se cierra solo cada dos por tres.",
            "Demasiado caro para lo poco que ofrece.",
            "Los controles son un desastre.",
            "La traducción está llena de errores.",
            "A las dos horas ya aburre.",
            "Los servidores nunca funcionan.",
        ),
    ),
    "german": (
        (
            "Ein wunderschönes Spiel, ich habe die Zeit völlig vergessen.",
            "Die Musik ist großartig und die Atmosphäre stimmt.",
            "Im Koop mit Freunden macht es am meisten Spaß.",
            "Für den Preis bekommt man erstaunlich viel.",
            "Die Entwickler kümmern sich und beheben Fehler schnell.",
            "Läuft auch auf meinem alten Rechner flüssig.",
            "Anfangs schwer, aber immer fair.",
            "Die Geschichte hat mich bis zum Schluss gefesselt.",
            "Klare Kaufempfehlung.",
        ),
        (
            "Stürzt ständig ab, so kann man nicht spielen.",
            "Viel zu wenig Inhalt für das Geld.",
            "Die Steuerung ist eine Katastrophe.",
            "Nach einer Stunde wird es langweilig.",
            "Die Übersetzung ist voller Fehler.",
            "Seit Monaten kein Update mehr.",
        ),
    ),
    "brazilian": (
        (
            "Jogo incrível, não consegui parar de jogar.",
            "A trilha sonora é linda demais.",
            "Com os amigos fica ainda melhor.",
            "Vale cada centavo, comprem sem medo.",
            "A história me fez chorar no final.",
            "Roda liso até no meu notebook velho.",
            "Os desenvolvedores sempre respondem e atualizam o jogo.",
            "É difícil no começo, mas muito recompensador.",
        ),
        (
            "Trava o tempo todo, impossível jogar.",
            "Muito caro para pouco conteúdo.",
            "Os controles são péssimos.",
            "Cheio de bugs e sem atualização há meses.",
            "Enjoei em uma hora e pedi reembolso.",
            "Faltou uma tradução decente para o português.",
        ),
    ),
    "japanese": (
        (
            "とても面白くて、気がついたら朝になっていました。",
            "音楽と雰囲気が最高です。",
            "友達と一緒に遊ぶともっと楽しいです。",
            "この値段でこの内容なら大満足です。",
            "ストーリーに感動して泣いてしまいました。",
            "難しいけれど、何度でも挑戦したくなります。",
            "操作が快適で、バグもほとんどありません。",
            "このジャンルが好きな人には絶対おすすめです。",
        ),
        (
            "頻繁に落ちるので遊べません。",
            "値段のわりに内容が少なすぎます。",
            "操作性が悪く、カメラも見づらいです。",
            "日本語訳がひどいです。",
            "一時間で飽きてしまいました。",
            "残念ながら返金しました。",
        ),
    ),
    "french": (
        (
            "Un jeu magnifique, je n'ai pas vu le temps passer.",
            "La musique est superbe et l'ambiance aussi.",
            "À plusieurs, c'est un vrai bonheur.",
            "Excellent rapport qualité-prix.",
            "L'histoire m'a ému jusqu'à la fin.",
            "Les développeurs sont à l'écoute de la communauté.",
            "Je le recommande les yeux fermés.",
        ),
        (
            "Il plante toutes les vingt minutes.",
            "Beaucoup trop cher pour si peu de contenu.",
            "Les commandes sont injouables au clavier.",
            "Je me suis ennuyé au bout d'une heure.",
            "La traduction française est bâclée.",
        ),
    ),
    "koreana": (
        (
            "정말 재미있어서 밤새 했습니다.",
            "음악과 분위기가 훌륭합니다.",
            "친구들과 함께 하면 더 즐겁습니다.",
            "가격에 비해 내용이 아주 풍부해요.",
            "이 장르를 좋아한다면 꼭 해 보세요.",
        ),
        (
            "자꾸 튕겨서 할 수가 없어요.",
            "가격에 비해 내용이 너무 적습니다.",
            "조작이 불편하고 시점이 어지러워요.",
            "한글 번역이 엉망입니다.",
        ),
    ),
    "polish": (
        (
            "Świetna gra, straciłem poczucie czasu.",
            "Muzyka i klimat są znakomite.",
            "Najlepiej gra się ze znajomymi.",
            "Za tę cenę naprawdę warto.",
            "Fabuła wciąga od pierwszej minuty.",
        ),
        (
            "Gra ciągle się zawiesza.",
            "Za mało treści jak na taką cenę.",
            "Sterowanie jest fatalne.",
            "Po godzinie robi się nudno.",
        ),
    ),
}
