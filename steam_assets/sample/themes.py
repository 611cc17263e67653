"""The vocabularies of the sample catalogue, a block for each theme; composing sentences from them is sample.py.

``act`` is what one does, in the infinitive; ``who`` one is; ``place`` follows "in"; ``stakes`` end a sentence; ``{n}``
stands for a number. ``praise`` and ``gripe`` are what players write; ``store`` are the genres of the store's own list.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """What games of one kind are about, in fragments that fit together in any combination."""

    name: str
    store: tuple[str, ...]
    genre: tuple[str, ...]
    mood: tuple[str, ...]
    who: tuple[str, ...]
    place: tuple[str, ...]
    act: tuple[str, ...]
    stakes: tuple[str, ...]
    feature: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    praise: tuple[str, ...]
    gripe: tuple[str, ...]


def themes() -> tuple[Theme, ...]:
    """Every theme, in the order they are written below."""
    return tuple(_theme(block) for block in BLOCKS.strip().split("\n\n"))


def _theme(block: str) -> Theme:
    """A block of lines "field: one | two", where a line that begins with a space goes on with the one before."""
    fields: dict[str, tuple[str, ...]] = {}
    for line in block.replace("\n ", " ").splitlines():
        field, _, values = line.partition(": ")
        fields[field] = tuple(" ".join(value.split()) for value in values.split("|"))
    (name,) = fields.pop("theme")
    return Theme(name, **fields)


BLOCKS = """
theme: farming
store: Simulation | Casual | Indie
genre: farming sim | farm life game | cozy farming game
mood: cozy | gentle | sunny | warm | unhurried | wholesome
who: a tired office clerk who inherits an overgrown farm | the youngest of a family of beekeepers
 | a newcomer with one hoe and a borrowed cow | two friends who lease the last orchard of the village
place: a valley of terraced fields | a village where everyone knows your goat | a windy island of barley and sheep
 | the foothills above a quiet lake | a hamlet that has not had a baker for years
act: plant turnips and pumpkins | milk the goats before sunrise | raise chickens from the egg | water the seedlings
 | brew jam from your own berries | mend the barn roof | invite friends to help with the harvest
 | befriend the shy neighbours | sell cheese at the weekly market | breed woollier sheep | build a greenhouse
stakes: before the first frost | while the seasons turn | in time for the harvest festival | at your own pace
 | until the old mill turns again
feature: {n} crops with their own soil and season | Barns, coops and beehives to build and paint
 | Farm together with up to {n} friends | A village of {n} neighbours with birthdays and secrets
 | Cheese, jam and bread made from what you grow | Weather that matters: rain, drought and early snow
 | Cows, goats and ducks that know their name
first: Clover | Turnip | Willow | Honey | Little | Barley | Meadow | Pumpkin | Hazel | Sunny
second: Farm | Acres | Harvest | Valley | Orchard | Homestead | Fields | Barn | Pastures | Almanac
praise: I wanted to water my parsnips for ten minutes and it was suddenly two in the morning.
 | My wife and I run the farm together and we argue about nothing but where the beehives go.
 | The goats have more personality than most heroes I have played. | Planting in the rain is pure comfort.
 | The harvest festival made me smile like a child. | Every season brings new crops and a reason to go on.
gripe: Watering by hand gets old long before the sprinklers arrive. | The cows get stuck behind the barn.
 | After the second year the villagers have nothing new to say. | Energy runs out before noon.

theme: roguelike
store: Action | RPG | Indie
genre: action roguelike | dungeon roguelite | turn-based roguelike
mood: brutal | fast | crunchy | relentless | clever | tense
who: a lamplighter who owes a debt to the deep | the seventh heir of a cursed family
 | a thief with one life and no map | an exile who wakes at the dungeon door each time
place: a dungeon that rearranges itself | catacombs under a drowned cathedral | a tower with no top floor
 | caves that remember how you died | an endless staircase of bones
act: fight through rooms that are never the same | dodge arrows and falling blades | risk your run for a cursed relic
 | combine runes into absurd builds | unlock new classes with every death | bargain with a demon for one more heart
 | clear each floor of monsters | gamble your gold at the shrine | learn the boss's rhythm | drink unknown potions
stakes: and die, and start again stronger | with permadeath waiting behind each door | one floor at a time
 | before the torch goes out | knowing that nothing but knowledge survives
feature: Procedurally generated floors, never twice the same | {n} relics that break the rules together
 | Permadeath, with small upgrades that stay | {n} classes to unlock | Daily runs on one seed for everyone
 | Bosses that learn from your last attempt
first: Bone | Hollow | Cursed | Ashen | Endless | Grim | Rune | Ember | Torch | Seventh
second: Descent | Depths | Catacomb | Crypt | Delver | Dungeon | Gauntlet | Spire | Labyrinth | Run
praise: Every run feels like a different game once the relics start to combine. | Died forty times, regret nothing.
 | The permadeath hurts and that is exactly why winning feels so good. | One more run is not a joke here.
 | The bosses are fair: each time I died I knew why. | Finally found the poison build and melted the last floor.
gripe: Some seeds are simply unwinnable. | The unlocks are too slow; you need twenty deaths to see a new class.
 | Room layouts begin to repeat after ten hours. | Dodging feels sluggish with a controller.

theme: hospital horror
store: Adventure | Indie
genre: psychological horror game | first-person horror game | survival horror game
mood: terrifying | oppressive | eerie | unsettling | dreadful | claustrophobic
who: a night nurse who hears the wards breathe | a journalist locked in with a failing torch
 | a patient with no name and no memory of arriving | a father searching for his missing daughter
place: an abandoned hospital | a derelict asylum in the woods | a sanatorium closed since the fire
 | a morgue beneath a flooded clinic | corridors where the lights go out one by one
act: hide from something that was once a surgeon | read the diaries of the vanished staff
 | crawl through ventilation shafts in the dark | hold your breath inside a locker
 | ration the batteries of your torch | follow whispers through the empty wards | piece together what the doctors did
 | run when the doors begin to slam | find the key to the operating theatre | record ghosts on an old camera
stakes: while something follows you | until morning, if it comes | and do not look behind you
 | before your sanity is gone | with nothing to defend yourself
feature: A monster that hears you through your microphone | An abandoned hospital of {n} rooms to explore
 | A sanity system that changes what you see | {n} endings, few of them kind | No weapons: run, hide or die
 | Sound recorded in a real empty ward | Jump scares that can be switched off
first: Ward | Silent | Pale | Last | Forgotten | Midnight | Hollow | Dread | Sleepless | Rotten
second: Asylum | Patient | Corridor | Whispers | Sanatorium | Autopsy | Nightshift | Screams | Infirmary | Morgue
praise: I had to stop playing at night, the operating theatre is the scariest place I have seen in a game.
 | The dread never lets go; even the quiet corridors made my hands sweat. | Screamed so loud the neighbours knocked.
 | The thing in the morgue still follows me in my dreams. | Best use of sound in horror I know: play with headphones.
 | It scares you with what it does not show.
gripe: After the third chase the monster is just annoying. | Too dark, and not in the good way.
 | The ending explains everything and ruins the mystery. | Batteries last about a minute, which is silly.

theme: racing
store: Racing | Sports
genre: arcade racing game | rally game | street racing game
mood: blistering | loud | slick | adrenaline-soaked | neon-lit | muddy
who: a mechanic with a stolen engine | a rally rookie and a co-driver who never stops talking
 | the champion nobody remembers | a courier who lives in the left lane
place: mountain passes full of hairpins | a neon city that closes its streets at midnight | a muddy forest stage
 | desert canyons | a coastal circuit in the rain
act: drift through hairpins | tune your engine between heats | overtake rivals on the last lap
 | slide sideways over gravel | race friends in split screen | slipstream at three hundred kilometres an hour
 | paint and customise your car | beat the ghost of your best lap | qualify for the championship
stakes: with the tyres already gone | to be first across the line | before the police close the road
 | with every millisecond counted | and never lift the throttle
feature: {n} cars from tiny hatchbacks to prototypes | Dynamic weather on {n} tracks
 | Online races for up to {n} drivers | Damage you can hear and feel | Full steering wheel and force feedback support
 | A photo mode for your best drift
first: Apex | Turbo | Redline | Drift | Nitro | Gravel | Hairpin | Velocity | Midnight | Asphalt
second: Rally | Racers | Circuit | Drive | Grand Prix | Rush | Overdrive | Kings | Cup | Streets
praise: The drift handling is perfect once it clicks. | Rain at night on the coast track is unbelievable.
 | Best sense of speed since the arcades. | Force feedback on my wheel feels just right.
 | Split screen racing with my brother, like the old days. | Every car handles differently and sounds its part.
gripe: Rubber-band AI: you lead by ten seconds and they teleport behind you. | Too few tracks for the price.
 | The cars float as if on ice. | Online lobbies are empty after a month.

theme: city builder
store: Simulation | Strategy
genre: city builder | town planning sim | settlement builder
mood: deep | relaxing | intricate | bustling | thoughtful | sprawling
who: a mayor elected by eleven votes | the planner of a town that floods each spring
 | the last architect of a desert republic | a governor with a map and no money
place: a river delta | a cold coast with one harbour | a plateau above the clouds | the ruins of an older city
 | a green plain waiting for its first road
act: zone houses, shops and industry | lay roads and tram lines | balance the budget
 | bring water and power to each street | listen to angry citizens | build schools and hospitals
 | fight traffic jams with roundabouts | raise taxes and regret it | plan parks and plazas
 | grow a village into a metropolis
stakes: without going bankrupt | while the population doubles | before the next election | one district at a time
 | and watch the lights come on at dusk
feature: {n} buildings in {n} styles | Traffic simulated for each single citizen | Disasters you can turn off
 | Scenarios with {n} starting maps | An economy of goods, jobs and rents | Districts with laws of their own
first: Urban | New | Harbour | Metro | Skyline | River | Grand | Little | Civic | Copper
second: City | Mayor | Metropolis | Township | Districts | Planner | Skylines | Borough | Municipality | Settlers
praise: I spent a whole evening fixing one roundabout and loved it. | Watching the city light up at dusk is magic.
 | Finally a city builder in which citizens really live somewhere. | The budget is hard but honest.
 | My town has a tram network that I am proud of. | Scales from village to metropolis without losing detail.
gripe: Traffic AI uses one lane of six. | Performance collapses past one hundred thousand citizens.
 | Too easy once you have money. | Water pipes, again, really?

theme: trains
store: Simulation | Strategy
genre: railway management sim | train simulator | railroad tycoon game
mood: meticulous | nostalgic | absorbing | grand | relaxed | steam-powered
who: a stationmaster with a branch line to save | a railway baron in the age of steam
 | the driver of the night express | a dispatcher for a whole mountain region
place: an alpine valley of viaducts | a continent without railways | a coal country of sidings and tunnels
 | a model landscape in an attic | the great plains in eighteen sixty
act: build railways across the mountains | manage trains and timetables | lay track and signals
 | drive a steam locomotive | haul freight from mine to port | connect cities by rail | buy new locomotives
 | keep passengers from missing connections | couple wagons in the yard | route expresses past slow freight
 | dig tunnels and raise bridges
stakes: on time, always | before a rival company gets there first | from the first rail to high speed
 | without a single derailment | through a century of railway history
feature: {n} locomotives, steam to electric | Realistic signals, switches and block sections
 | {n} cargoes to haul by rail | Timetables down to the second | A cab view with working levers
 | A track editor as easy as drawing
first: Iron | Steam | Branch | Northern | Rail | Timber | Express | Signal | Viaduct | Mountain
second: Railway | Railroad | Junction | Locomotive | Line | Rails | Tycoon | Terminus | Engine | Dispatcher
praise: Laying track and watching the first train roll over the viaduct is pure joy.
 | Signals work like the real thing; I worked for a railway and I approve. | The steam locomotives sound glorious.
 | My timetable runs like a clock and I could watch it for hours. | Freight chains make every line matter.
 | The yard is a puzzle that I never tire of.
gripe: The signal tutorial explains nothing. | Trains wait for ever at a junction that is clear.
 | Not enough wagons, and the rest are sold as DLC. | Track snapping fights you on slopes.

theme: space
store: Simulation | Strategy | Action
genre: space trading sim | space exploration game | starship adventure
mood: vast | lonely | majestic | hard-science | serene | star-struck
who: a freighter captain with a debt and a ship's cat | the last cartographer of the outer rim
 | a salvage crew between two wars | an android who wants to see the galaxy
place: an uncharted galaxy | the rings of a dying gas giant | a station at the edge of known space
 | a nebula full of derelict ships | a system with three suns
act: trade ore between distant stations | land on alien planets | upgrade your starship | map unknown star systems
 | dodge pirates in an asteroid belt | salvage derelict cruisers | negotiate with aliens | refuel at a gas giant
 | mine asteroids | fly by real orbital mechanics
stakes: with oxygen for one more jump | light years from help | and find out who sent the signal
 | before the fuel is gone | among four hundred billion stars
feature: A galaxy of {n} star systems | Seamless flight from orbit to ground | {n} ships to buy, steal or build
 | Newtonian flight, with help for beginners | Aliens with languages to learn | Trade routes that react to war
first: Star | Void | Outer | Orbital | Nebula | Solar | Distant | Lost | Cosmic | Stellar
second: Horizon | Freighter | Drift | Voyager | Frontier | Signal | Trader | Odyssey | Expanse | Salvage
praise: Landing on a new planet still gives me goosebumps. | Trading across the rim with music on is my therapy.
 | Space finally feels as big and empty as it should. | The docking is a small ritual that I love.
 | I found a derelict with a story and nobody told me to look there. | Flight model is superb with a joystick.
gripe: A galaxy wide and a puddle deep. | Supercruise is ten minutes of waiting. | Planets look alike after a while.
 | The tutorial leaves you drifting in space, literally.

theme: submarine
store: Simulation | Strategy
genre: underwater survival game | submarine sim | deep-sea exploration game
mood: deep-blue | crushing | mysterious | wondrous | quiet | pressurised
who: a marine biologist alone after the wreck | the crew of a leaking submarine | a diver in search of a lost brother
 | the keeper of an undersea station
place: the deepest trench of the ocean | a coral reef at night | an alien ocean under ice | a drowned city
 | kelp forests full of teeth
act: dive into the abyss | scan strange fish | repair leaks before the hull gives way | craft a better oxygen tank
 | listen to sonar echoes | build a base on the sea floor | steer the submarine past mines | flee from a leviathan
 | harvest coral and titanium | surface for air at the last second
stakes: before the oxygen runs out | below the last light | under a thousand metres of water | and hear the hull groan
feature: An ocean {n} hundred metres deep, without loading | {n} sea creatures, most of them hungry
 | A submarine with working stations for {n} players | Base building under pressure | Sonar that shows and betrays
first: Abyssal | Deep | Coral | Sunken | Blue | Tidal | Pressure | Leviathan | Kelp | Silent
second: Trench | Dive | Ocean | Fathoms | Submersible | Reef | Depth | Sonar | Undertow | Bathysphere
praise: The first dive below the light made me hold my real breath. | The ocean is the best character of the game.
 | Patching leaks while the captain panics is the best coop I had. | Beautiful fish, then teeth.
 | Building a glass base on the reef is wonderful. | Sonar pings at depth: fear itself.
gripe: Oxygen management is tedious for the first hours. | Inventory is far too small.
 | The submarine steers like a brick. | Reef pop-in spoils the view.

theme: zombies
store: Action | Indie
genre: zombie survival game | co-op zombie shooter | post-apocalyptic survival game
mood: grim | bloody | desperate | frantic | bleak | savage
who: four strangers in a supermarket | a paramedic bitten and counting the hours
 | a trucker with a shelter full of children | a soldier left behind the wall
place: a quarantined city | a mall surrounded by the undead | farmland after the outbreak
 | a bridge that was never blown up | the suburbs on day two hundred
act: barricade the windows | scavenge for canned food | shoot zombies with friends | craft weapons from scrap
 | hold out until the helicopter comes | treat infected wounds | lure the horde away with noise | loot the pharmacy
 | keep survivors fed and sane | drive through a wall of the undead
stakes: before the horde arrives at nightfall | with six bullets left | while the infection spreads | and trust nobody
 | one day more
feature: Hordes of up to {n} hundred zombies at once | Four-player co-op with friendly fire
 | A base to fortify plank by plank | {n} weapons, half of them broken | Permanent loss of survivors
 | Day and night that change the dead
first: Dead | Infected | Last | Undead | Rotting | Outbreak | Quarantine | Bitten | Horde | Grave
second: Horizon | Shelter | Days | Survivors | Wall | District | Barricade | Zone | Hours | Nightfall
praise: The horde pouring over our barricade was the best moment of the year.
 | Zombies that hear you change everything. | Perfect with three friends and bad planning.
 | Scavenging is tense because you never have enough. | I lost my best survivor to a can of beans.
 | Headshots feel right and the gore is over the top.
gripe: Zombies spawn behind you in cleared rooms. | Melee is a coin toss. | Weapons break after three hits.
 | Playing alone is not fun, the bots are useless.

theme: medieval strategy
store: Strategy
genre: grand strategy game | real-time strategy game | medieval kingdom sim
mood: epic | ruthless | sweeping | tactical | intricate | feudal
who: a duke with more cousins than soldiers | the regent of a child king | a bishop who collects castles
 | a mercenary captain who wants a crown
place: a fractured kingdom | a borderland of castles and bogs | a crusader coast | seven quarrelling duchies
 | a realm with an empty throne
act: besiege castles with trebuchets | marry your heirs to your enemies | raise levies from the villages
 | forge alliances and break them | command cavalry on the field | levy taxes on salt | plot against your own brother
 | build walls and keeps | bribe cardinals | lead armies of knights and archers
stakes: until one crown remains | before winter ends the campaign | for a dynasty of five centuries
 | and be remembered, or buried
feature: {n} playable dynasties with claims and grudges | Battles of {n} thousand soldiers
 | Castles you design tower by tower | Intrigue: poison, forgery, marriage | Multiplayer wars for {n} lords
first: Iron | Broken | Royal | Feudal | Crimson | Banner | Northern | Holy | Thorn | Winter
second: Crown | Kingdom | Siege | Dynasty | Throne | Heirs | Conquest | Banners | Duchy | Lords
praise: My own brother poisoned me and my son avenged it; no scripted story can do this.
 | Sieges are a joy, trebuchets first of all. | A strategy game that rewards patience and treachery.
 | The diplomacy has teeth. | I took the throne with marriages alone. | Huge battles and clear controls, at last.
gripe: The AI declares war with eleven men. | Late game turns take minutes. | Menus inside menus inside menus.
 | Vassals revolt for no reason that one can see.

theme: tanks
store: Action | Simulation
genre: tank combat game | World War II shooter | military vehicle sim
mood: heavy | gritty | explosive | authentic | thunderous | steel-clad
who: the commander of a battered tank crew | a tank destroyer ace | a mechanic promoted on the field
 | the last armoured platoon behind the lines
place: the hedgerows of Normandy | a frozen eastern front | the deserts of North Africa | a ruined industrial town
act: angle your armour against shells | aim for weak spots | command a tank crew of five
 | repair broken tracks under fire | flank heavy tanks | research better guns | call in artillery | hold the bridge
 | ambush a convoy | load, aim and fire
stakes: with one shell in the breech | before the counter-attack | street by street | and bring the crew home
feature: {n} historical tanks with modelled interiors | Ballistics with penetration and ricochet
 | Battles for up to {n} players | Crews that learn and panic | Destructible towns
 | Historical campaigns in {n} chapters
first: Steel | Iron | Armoured | Panzer | Thunder | Heavy | Frontline | Shell | Turret | Track
second: Brigade | Division | Fury | Armour | Offensive | Battalion | Spearhead | Warfare | Assault | Crew
praise: Bouncing a shell off angled armour never gets old. | Best tank combat since the board games of my youth.
 | Working as a crew of five is chaos and glory. | The guns sound like thunder. | History is treated with care.
 | Flanking a heavy with a tiny scout made my week.
gripe: Matchmaking throws light tanks at heavies. | Premium ammunition wins fights.
 | The grind to the next gun is endless. | Bushes hide a tank of fifty tons completely.

theme: arena shooter
store: Action
genre: competitive multiplayer shooter | arena FPS | hero shooter
mood: lightning-fast | precise | competitive | sweaty | stylish | explosive
who: a mercenary with a jump pack | a ranked duelist in a corporate league | a team of five with clashing abilities
 | a sniper who never stands still
place: floating arenas | a stadium of moving platforms | an orbital training ring | a neon market at night
act: climb the ranked ladder | rocket-jump over the map | capture the enemy flag | clutch rounds against five
 | combine abilities with your team | aim for headshots | control the power weapons | queue with friends
 | master recoil patterns | plant and defuse the bomb
stakes: with sixty seconds on the clock | for the top of the leaderboard | in matches of ten minutes
 | where skill decides
feature: Ranked seasons with fair matchmaking | {n} maps for five against five | {n} weapons with learnable recoil
 | Dedicated servers at 128 ticks | Replays and a spectator mode for tournaments | Cosmetics only: nothing to buy wins
first: Hyper | Frag | Rapid | Pulse | Apex | Zero | Strike | Quick | Volt | Prime
second: Arena | Protocol | League | Showdown | Ops | Rivals | Blitz | Vector | Tournament | Clash
praise: Ranked is addictive and the gunplay is razor sharp. | Movement is everything and it feels wonderful.
 | Fair matchmaking, fast servers, no pay to win.
 | Clutching a round against five is a feeling that I chase each night. | Great with a full team on voice.
 | The recoil can be learned, which rewards practice.
gripe: Cheaters in every third match. | The community screams at beginners.
 | Balance changes weekly and never for good. | Servers lag at peak hours.

theme: stealth heist
store: Action | Adventure
genre: stealth game | heist game | immersive sim
mood: tense | slick | clever | patient | shadowy | sly
who: a retired burglar on one last job | a crew of four thieves with one getaway van | a spy under a false name
 | a pickpocket with a grudge against the bank
place: a museum full of lasers | a casino above the sea | the vaults of a private bank | a gaslit city of rooftops
act: sneak past guards and cameras | crack the vault | pick locks in the dark | plan the heist on a blueprint
 | knock out sentries without a sound | hack the alarm | steal paintings | disguise yourself as a waiter
 | escape over the rooftops | listen at doors
stakes: without being seen | before the alarm goes off | and leave no trace | with the police three minutes away
feature: Guards that notice open doors and missing keys | {n} ways into each building | Co-op heists for {n} thieves
 | A planning table with notes and routes | Ghost ratings for players who touch nobody
first: Silent | Velvet | Perfect | Shadow | Midnight | Glass | Clean | Thief's | Gilded | Quiet
second: Heist | Vault | Job | Getaway | Burglar | Rooftops | Alibi | Score | Masquerade | Lockpick
praise: Planning for an hour and executing in three minutes is bliss. | The guards are smart enough to be scary.
 | Ghosted the museum on the fourth try and shouted. | Every vault can be opened in ways nobody told me about.
 | With friends it turns into a comedy of errors. | Light and sound matter in a way few stealth games dare.
gripe: Guards see through walls now and then. | Instant failure when spotted is outdated.
 | The last mission throws stealth away for a shootout. | Co-op disconnects before the loot is counted.

theme: detective
store: Adventure | Indie
genre: detective game | murder mystery adventure | investigation game
mood: smoky | noir | cunning | slow-burning | witty | melancholy
who: a private eye with a bad knee | an inspector on the night train | a retired judge who cannot stop asking
 | a crime reporter in a corrupt town
place: a rain-soaked city in nineteen forty-seven | a manor cut off by snow | a luxury liner in the fog
 | a fishing village with one telephone
act: question suspects and catch their lies | examine the crime scene | pin clues to the board
 | follow the murderer's trail | compare fingerprints | reconstruct the last hours of the victim
 | search the study for letters | tail a suspect in the rain | accuse the wrong person | solve the murder by deduction
stakes: before the killer strikes again | with everyone lying | until one story fits all the facts
 | and live with your verdict
feature: {n} cases that can be solved wrong | A clue board that never does the thinking for you
 | Suspects with alibis that can be broken | Full voice acting for {n} witnesses | Verdicts that change later cases
first: Cold | Crimson | Fatal | Last | Foggy | Locked | Blackmail | Missing | Velvet | Ninth
second: Case | Witness | Alibi | Detective | Inspector | Clue | Verdict | Murder | Confession | Testimony
praise: I accused the wrong man and the game let me. | The clue board is the best detective mechanic I have seen.
 | Proper deduction: you have to think, nobody holds your hand. | Noir dialogue worthy of an old film.
 | The last case turned everything around. | I filled a real notebook with suspects.
gripe: The solution to the third case makes no sense. | Too much walking between witnesses.
 | You can brute-force the accusations. | Voice acting is wooden in places.

theme: romance novel
store: Adventure | Casual
genre: visual novel | dating sim | romance visual novel
mood: tender | bittersweet | charming | heartfelt | funny | dreamy
who: a transfer student at a seaside school | a florist who writes letters to strangers | a barista with a secret poem
 | a witch with no luck in love
place: a small town in cherry blossom season | a cafe open until dawn | an academy of magic
 | a theatre before its premiere
act: choose whom to take to the summer festival | write love letters | listen to your friends' heartbreak
 | confess your feelings | unlock every ending | remember what she told you in spring | share an umbrella in the rain
 | cook dinner for a first date | choose your words with care
stakes: before graduation | and mend a broken heart | in a story of many branches | until the last train leaves
feature: {n} characters to fall in love with | {n} endings, happy and otherwise | A hand-painted gallery of {n} scenes
 | Over {n}0,000 words of story | Voice acting for the main cast | Choices that come back much later
first: Cherry | Love | Starlit | Summer | Letters | Paper | Sweet | Moonlit | Blue | Velvet
second: Blossom | Confession | Hearts | Promise | Diary | Academy | Melody | Umbrella | Romance | Kiss
praise: I cried at the train station ending and I am not ashamed. | The characters talk like people, not like tropes.
 | Art and music are gorgeous. | Every route tells you something new about the others.
 | I came for the romance and stayed for the friendships. | Choices really matter: I lost her over a single line.
gripe: The common route drags for hours. | Some routes end suddenly. | Lots of typos in the translation.
 | Skip function skips text that you have not read.

theme: cozy puzzle
store: Casual | Indie
genre: puzzle game | relaxing puzzle game | logic puzzle game
mood: soothing | elegant | clever | minimalist | calm | charming
who: a lighthouse keeper who mends broken maps | a librarian of lost patterns | a fox made of paper
 | anyone with a cup of tea and ten minutes
place: a garden of stone tiles | a doll's house | a quiet museum of shapes | a moving box in a new flat
act: rotate tiles until the rivers meet | match colours and shapes | unpack boxes | untangle glowing threads
 | push blocks onto their marks | fold paper into bridges | sort shelves until they please you
 | solve sudoku-like grids | reflect light through mirrors | find the one move that works
stakes: with no timer and no score | one small aha at a time | and breathe out | as slowly as you like
feature: {n} hand-made puzzles, from gentle to devious | No timers, no ads, no failing
 | Hints that nudge and do not solve | A level editor with sharing | Colour-blind modes
 | Music that builds itself while you solve
first: Paper | Tiny | Quiet | Mosaic | Gentle | Glass | Soft | Pebble | Tangle | Little
second: Puzzles | Patterns | Tiles | Boxes | Threads | Shapes | Garden | Origami | Mirrors | Pieces
praise: The puzzles teach you without a word. | My evening ritual: tea, blanket, three levels.
 | Clever without being cruel. | The aha in the mirror chapter made me laugh out loud.
 | So relaxing that I forgot my headache. | My mother of seventy plays it each day.
gripe: Over in two hours. | The last chapter gets fiddly instead of hard. | Hints solve too much at once.
 | Music loops too soon.

theme: platformer
store: Action | Adventure | Indie
genre: platformer | precision platformer | 2D platform game
mood: bouncy | colourful | tight | charming | demanding | joyful
who: a frog with a borrowed cape | a robot the size of a thumb | a runaway sock | twin foxes on one lead
place: a candy-coloured world | a clockwork castle | islands in the sky | a haunted toy shop
act: jump over spikes and saws | dash through the air | swing from vine to vine | collect every last coin
 | wall-jump to secret rooms | bounce on enemies | race the clock | outrun a rising flood | retry in an instant
 | master double jumps
stakes: with pixel-perfect timing | and die a thousand tiny deaths | to the very last flag
 | without touching the floor
feature: {n} levels in {n} worlds | Instant retries | Tight controls tuned for months
 | Secret exits and golden feathers | Local co-op for two | An assist mode for everyone
first: Super | Jumpy | Tiny | Sky | Bouncing | Pocket | Rocket | Pixel | Hop | Turbo
second: Frog | Leap | Jumper | Adventure | Dash | Fox | Springs | World | Boots | Feather
praise: The jump feels perfect from the first second. | Hard but fair, and the retry is instant.
 | Each world brings one new idea and drops it before it gets stale. | Secrets everywhere.
 | My kid and I finished it together. | The soundtrack bounces along with you.
gripe: Slippery ice levels, why? | The camera hides the pit that you fall into. | Some checkpoints are far apart.
 | Short and over-priced.

theme: metroidvania
store: Action | Adventure | Indie
genre: metroidvania | hand-drawn exploration platformer | action exploration game
mood: haunting | intricate | melancholy | beautiful | labyrinthine | dark
who: a moth in a knight's armour | the last gardener of a ruined palace | a child with a clockwork arm
 | a pilgrim who forgot the prayer
place: an interconnected underground kingdom | a dead city of insects | a monastery grown over by roots
 | a flooded machine the size of a mountain
act: backtrack with new abilities | unlock shortcuts between regions | fight towering bosses | map every hidden room
 | grapple across chasms | break cracked walls | upgrade your blade | learn the lore from statues
 | dash through thorns | find benches to rest
stakes: one ability at a time | where every door remembers you | and find what sleeps below
 | deeper than any map shows
feature: One seamless map of {n} regions | {n} bosses with patterns of their own | Abilities that open old paths
 | Hand-drawn animation, frame by frame | {n} charms to combine | A hundred secrets behind breakable walls
first: Hollow | Rooted | Forgotten | Silent | Moth | Ruined | Pale | Sunless | Withered | Deepest
second: Kingdom | Pilgrim | Sanctum | Hive | Cloister | Reliquary | Roots | Knight | Passage | Cathedral
praise: The moment when a shortcut led back to the first bench blew my mind.
 | Exploration without a single marker: bliss. | Bosses are tough dances. | The map is a masterpiece of connections.
 | Hand-drawn art that belongs in a gallery. | Each new ability makes you rethink the whole world.
gripe: Too much backtracking before fast travel opens. | I got lost for three hours. | Contact damage everywhere.
 | Runs back to the boss are a waste of time.

theme: story rpg
store: RPG | Adventure
genre: story-driven RPG | isometric role-playing game | fantasy RPG
mood: rich | literary | epic | morally grey | sweeping | heartfelt
who: a judge in a conquered land | a healer who once started a war | an oathbreaker with a talking sword
 | the child of two enemy gods
place: a kingdom on the eve of civil war | a city of canals and masks | a frontier between magic and law
 | a desert of buried gods
act: make moral choices with lasting consequences | recruit companions with their own goals
 | talk your way out of fights | shape the fate of factions | level up skills and spells | uncover an ancient betrayal
 | decide who lives | explore ruins for lost magic | side with rebels or with the crown | romance a companion
stakes: and live with the consequences | in a story that remembers everything | before the war begins
 | where no choice is clean
feature: {n} companions with quests and quarrels | Choices that change whole chapters | {n} hours of main story
 | Turn-based combat with {n} spells | Fully branching dialogue with skill checks | Several endings for each faction
first: Oath | Ashes | Broken | Ember | Tides | Fallen | Silver | Exile's | Dragon | Elder
second: Legacy | Chronicles | Tyrants | Prophecy | Saga | Covenant | Throne | Legends | Reckoning | Testament
praise: Choices from chapter one came back thirty hours later and hurt. | The best companions since the classics.
 | I talked the final boss into surrender. | World-building that respects the reader.
 | Every faction is right about something. | I am on my third playthrough and still find new quests.
gripe: Combat is a chore between brilliant dialogues. | Loading screens at each door.
 | Quest bugs blocked two endings. | Way too much reading for me.

theme: deckbuilder
store: Strategy | Indie
genre: deckbuilder | roguelike card game | strategy card game
mood: addictive | clever | sharp | replayable | devilish | elegant
who: a fortune teller in debt to the moon | a gambler who plays for souls | a young wizard with an unreliable deck
 | a queen dethroned by her own cards
place: a travelling carnival | a tower of card sharps | a tavern at the end of the world | a board of living squares
act: draft a deck from hundreds of cards | chain combos for absurd damage | remove weak cards
 | upgrade your starting hand | block, strike and poison | read the enemy's next move
 | find synergies between relics and cards | bluff a rival | spend mana wisely | draw one more card
stakes: run after run | with one card left in hand | before the dealer smiles | until the perfect hand comes
feature: {n} cards and {n} relics to combine | {n} characters with decks of their own
 | Turn-based battles, visible intents | Daily challenges and ascension levels
 | No microtransactions, all cards by play
first: Arcane | Dealt | Lucky | Shuffled | Royal | Devil's | Fate | Marked | Wild | Ace
second: Deck | Cards | Gambit | Hand | Draw | Tarot | Spire | Dealer | Trick | Shuffle
praise: My infinite combo drew the whole deck on turn two. | Best card game on my machine, one more run at three a.m.
 | Every card has its use in some deck. | Balanced, deep and endlessly replayable.
 | Removing cards is stronger than adding; it took me ten hours to learn. | The relics turn the rules upside down.
gripe: Pure luck of the draw in the last act. | Two characters are far stronger than the rest.
 | Animations are slow even at double speed. | Not enough enemy variety.

theme: tower defense
store: Strategy | Casual
genre: tower defense game | strategy defense game | tower defense
mood: tactical | hectic | satisfying | cute | explosive | clever
who: a gnome engineer with too many blueprints | the commander of the last gate | a beekeeper against an army of wasps
 | a wizard who never leaves the tower
place: a winding canyon | a garden under attack | the walls of a besieged city | a space station with six airlocks
act: place towers along the path | upgrade cannons and frost towers | build mazes for the enemy
 | survive wave after wave | sell and rebuild in a hurry | unlock new turrets | stop armoured giants
 | combine fire and oil | hold the gate | aim mortars
stakes: until the last wave | before they reach the gate | with one life left | as the waves grow
feature: {n} towers with branching upgrades | {n} maps with free maze building | Endless mode with leaderboards
 | Heroes to lead in person | Co-op defence for two | Boss waves that change the rules
first: Gate | Bastion | Garden | Turret | Last | Wave | Goblin | Castle | Frost | Clockwork
second: Defense | Defenders | Bulwark | Towers | Rampart | Siege | Guard | Stronghold | Outpost | Keepers
praise: Mazing has never been this satisfying. | Wave fifty took all I had and one lucky mortar.
 | Towers combine in ways that I did not expect. | Just one more wave, every night.
 | The frost and oil combo is hilarious. | Perfect difficulty curve.
gripe: One tower type is enough for every map. | Fast forward is still too slow. | Air waves ruin good mazes.
 | The campaign is short.

theme: fishing
store: Sports | Simulation | Casual
genre: fishing game | fishing sim | relaxing angling game
mood: peaceful | misty | patient | quiet | lovely | meditative
who: an old angler and a young dog | a widow with her husband's boat | a champion who came home to rest
 | a heron who learned to cast
place: a mountain lake at dawn | a northern fjord | a river full of salmon | a pier in a sleepy harbour
act: cast your line at dawn | tie your own flies | reel in trout and pike | choose the right bait
 | row to deeper water | wait for the bite | release the big ones | fill your fish journal | mend the old boat
 | cook your catch over a fire
stakes: while the mist lifts | and forget the time | for the legendary catfish | until the stars come out
feature: {n} species of fish with real behaviour | {n} lakes, rivers and coasts | Rods, reels and flies to collect
 | Weather and time of day decide who bites | Fish together with up to {n} friends | A journal of each catch
first: Misty | Silver | Lake | Trout | Quiet | Angler's | Northern | River | Salmon | Golden
second: Waters | Catch | Angler | Fishing | Tackle | Shore | Casting | Bait | Pier | Lure
praise: Landed a pike after twenty minutes and my hands shook. | The most peaceful game I own.
 | Mist over the lake at dawn is worth the price. | Bait, depth and weather really matter.
 | I fish with my dad online each Sunday. | The journal makes you want every species.
gripe: Same fish at the same spot each time. | Line breaks for no reason. | New rods cost hours of grinding.
 | The boat controls are awful.

theme: cooking
store: Simulation | Casual
genre: cooking game | restaurant management game | co-op kitchen game
mood: hectic | tasty | chaotic | heart-warming | delicious | busy
who: a line cook who inherits a noodle bar | four friends and one tiny kitchen | a pastry chef in exile
 | a food truck owner with big dreams
place: a harbour street of food stalls | a restaurant on a moving train | a castle kitchen | a rooftop bistro
act: chop, fry and plate in time | cook noodles for impatient guests | design your menu | hire waiters and dishwashers
 | bake bread before dawn | wash dishes while friends cook | earn a third star | invent recipes
 | extinguish burning pans | serve the lunch rush
stakes: before the guests lose patience | with the kitchen on fire | for the food critic's visit | plate after plate
feature: {n} recipes from {n} cuisines | Co-op cooking for up to {n} chefs | A restaurant to furnish and staff
 | Guests with tastes and moods | Kitchens that move, burn and sink | A cookbook of real recipes
first: Golden | Spicy | Noodle | Sugar | Busy | Grandma's | Burnt | Sizzling | Little | Butter
second: Kitchen | Bistro | Diner | Chef | Spoon | Recipes | Bakery | Food Truck | Feast | Pan
praise: We screamed at each other about tomatoes and it was glorious.
 | Running the restaurant is deeper than it looks. | I got hungry each time I played.
 | The lunch rush with four friends is the best chaos. | Real recipes: I cooked the noodle soup for dinner.
 | Charming characters and tasty graphics.
gripe: Playing alone is no fun at all. | Controls drop the plate when you need it most.
 | Difficulty jumps in the third town. | Guests leave after ten seconds.

theme: football
store: Sports | Simulation
genre: football manager | soccer game | sports management sim
mood: tactical | realistic | passionate | absorbing | statistical | dramatic
who: the coach of a club at the bottom of the league | a retired striker with a whistle | a scout with a battered car
 | a chairman who sold the stadium
place: the lower divisions | a city with two rival clubs | an island league of eight teams
 | the week before the cup final
act: sign young talents | set tactics and formations | train your strikers | negotiate transfers
 | win the league on the last matchday | face the press after a defeat | build a youth academy | shout at the referee
 | take penalties | fill the stadium
stakes: before the transfer window closes | for promotion | with the derby on Saturday | season after season
feature: {n} leagues with {n} thousand players | A match engine you can watch in full
 | Transfers, contracts and agents | Youth academies that grow your own stars | Online leagues with friends
 | Tactics down to each player's run
first: Golden | Final | Premier | Derby | Sunday | Goal | Champion | Stadium | Corner | Extra
second: League | Kick | Manager | Striker | Football | Soccer | Whistle | Cup | Eleven | Season
praise: Took a village team to the cup final in nine seasons. | The tactics board is deep and it shows on the pitch.
 | Transfers feel real, agents included. | My star striker broke his leg and I nearly cried.
 | The match engine punishes bad formations. | Best football manager for years.
gripe: Same game as last year with new shirts. | Goalkeepers are blind. | Injuries every single match.
 | The press asks the same three questions.

theme: flight
store: Simulation
genre: flight simulator | combat flight sim | aviation game
mood: realistic | breathtaking | precise | airborne | majestic | technical
who: a bush pilot in Alaska | a student with forty hours in the log book | a fighter pilot in nineteen forty
 | a captain on her last long-haul flight
place: the fjords at sunset | a storm over the ocean | the airfields of southern England
 | mountain strips without a tower
act: take off in crosswind | read the instruments in cloud | land on a glacier | dogfight above the coast
 | plan routes with real weather | talk to air traffic control | fly vintage propeller planes | follow the checklist
 | recover from a stall | deliver mail to remote villages
stakes: with one engine out | before the fuel light comes on | above the clouds | in real time, if you like
feature: {n} aircraft with clickable cockpits | Real weather and {n} airports | Flight physics checked by pilots
 | VR and yoke support | Careers from bush to long-haul | Multiplayer formations for {n} pilots
first: Blue | Northern | Cloud | Final | Jet | Propeller | High | Silver | Tailwind | Bush
second: Pilot | Approach | Skies | Wings | Flight | Airways | Cockpit | Altitude | Runway | Aviator
praise: Landing in crosswind with my yoke feels just like my lessons. | The clouds are unbelievable.
 | Every switch in the cockpit works. | Bush flying over the fjords is my new happy place.
 | The dogfights are fair and deadly. | I am a real pilot and the stall behaviour is right.
gripe: You need a supercomputer to fly over a city. | The autopilot has a will of its own.
 | Download of two hundred gigabytes. | No tutorial for the instruments.

theme: trucks
store: Simulation | Casual
genre: truck driving simulator | trucking sim | delivery driving game
mood: relaxing | realistic | long-distance | sleepy | steady | rumbling
who: a rookie driver with a rented truck | the owner of a small haulage company | a night driver who loves the radio
 | a trucker on the ice road
place: the motorways of Europe | an endless American highway | mountain roads with ice | the outback
act: haul cargo across countries | reverse the trailer into a tight bay | obey the tachograph
 | refuel at lonely truck stops | listen to the radio at night | buy your own truck | hire drivers
 | watch the speed cameras | deliver goods on time | customise your cabin
stakes: mile after mile | before dawn | with forty tons behind you | and pay off the loan
feature: {n} cities linked by real roads | {n} licensed-looking trucks to tune | Weather, night and roadworks
 | A haulage company to grow | Convoys with up to {n} friends | Steering wheel and eye tracker support
first: Long | Heavy | Highway | Diesel | Eighteen | Northern | Cargo | Open | Night | Big
second: Haul | Trucker | Road | Freight | Wheels | Convoy | Trailer | Miles | Delivery | Rig
praise: Podcast on, rain on the windscreen, four hundred miles to go: heaven.
 | Reversing the trailer finally clicked and I felt like a king. | The most relaxing game that I own.
 | My company has nine drivers now. | The roads feel like the real ones I drive. | Convoys with friends are brilliant.
gripe: Traffic AI brakes for nothing. | Map expansions cost more than the game. | Night lighting is too dark.
 | Every city looks the same.

theme: hacking
store: Indie | Simulation
genre: hacking sim | programming puzzle game | cyberpunk hacking game
mood: brainy | paranoid | neon | nerdy | clever | subversive
who: a hacker who never leaves the flat | an intern at a company of liars | a rogue AI that wants out
 | a teacher with root access
place: a corporate network | a terminal with green letters | a neon megacity under surveillance
 | a server room at night
act: write code to control robots | break into servers | crack passwords | trace the attacker back
 | automate your exploits | optimise assembly programs | read other people's mail | cover your tracks in the logs
 | reroute the city's traffic lights | solve programming puzzles
stakes: before the trace completes | in as few cycles as you can | and stay anonymous | while the firewall learns
feature: A real terminal with {n} commands | {n} programming puzzles with leaderboards
 | A scripting language of its own | Networks that remember your intrusion | A soundtrack for night shifts
 | Sandbox mode to build your own machines
first: Zero | Root | Binary | Neon | Null | Black | Ghost | Kernel | Packet | Dark
second: Terminal | Access | Exploit | Protocol | Shell | Hacker | Compiler | Network | Overflow | Firewall
praise: I learned more about shells here than in my studies. | Optimising my program from 80 to 31 cycles was a drug.
 | Feels like being in an old hacker film. | The puzzles respect your brain.
 | The story unfolds in mails and logs, brilliant. | Type real commands, break real-looking things.
gripe: Not for people who cannot program. | The last puzzles are homework. | No undo in the editor.
 | Font is tiny on a large screen.

theme: factory
store: Simulation | Strategy | Indie
genre: factory automation game | automation sim | industrial building game
mood: addictive | intricate | humming | endless | efficient | orderly
who: an engineer stranded with one drill | the last robot of a mining company | a consultant for lazy goblins
 | a chemist with too many pipes
place: an alien planet rich in ore | a flat world of conveyor belts | a moon base | a swamp full of copper
act: automate production lines | lay conveyor belts | smelt iron and copper | balance inputs and outputs
 | build assembly machines | fix bottlenecks | power the grid with steam | launch a rocket
 | design circuits for the trains | expand the factory with friends
stakes: because the factory must grow | until everything runs by itself | without a single bottleneck
 | and forget to sleep
feature: {n} machines and {n} recipes | Belts, pipes and robots | Blueprints to copy and share | Logic circuits
 | Co-op factories for up to {n} engineers | Megabases of a million items per minute
first: Iron | Copper | Assembly | Gear | Robo | Conveyor | Steam | Auto | Cog | Perpetual
second: Factory | Works | Foundry | Belts | Industry | Automation | Machines | Plant | Line | Mill
praise: I dream in conveyor belts now. | Fixing one bottleneck only shows the next, and I love it.
 | Four hundred hours and the factory still grows. | Blueprints make big builds painless.
 | The perfect game for engineers. | Watching it all run by itself is deeply satisfying.
gripe: My computer dies with the megabase. | Fluids make no sense. | It looks like a spreadsheet.
 | No goal after the rocket.

theme: zoo
store: Simulation | Strategy
genre: zoo management game | wildlife park sim | dinosaur park game
mood: charming | lively | caring | colourful | educational | roaring
who: a vet with a rescue park | the heir of a bankrupt zoo | a geneticist with a fossil and a dream
 | a ranger who talks to elephants
place: a safari park | an island of dinosaurs | a small zoo by the sea | a rescue station in the jungle
act: build enclosures for lions and giraffes | breed endangered animals | feed the penguins | keep visitors happy
 | recapture an escaped raptor | heal injured elephants | hatch dinosaur eggs | train keepers | design habitats
 | release animals into the wild
stakes: before the fences fail | and protect the last of their kind | with visitors at the gate | on a tight budget
feature: {n} animals with herds and moods | Terrain, water and plants to shape | Breeding with real genetics
 | A guest economy of snacks and toilets | Conservation goals | Escapes, storms and vets on call
first: Wild | Safari | Jurassic | Happy | Lion | Island | Rescue | Feather | Savanna | Little
second: Zoo | Park | Wildlife | Habitat | Dinosaurs | Sanctuary | Menagerie | Keeper | Animals | Reserve
praise: My elephants had a baby and the whole park cheered. | Building habitats is a joy.
 | The animals behave so naturally that I just watch them. | A raptor escaped during school holidays: perfect.
 | I learned a lot about conservation. | Gorgeous fur and feathers.
gripe: Guests complain about toilets all day. | Terrain tools are fiddly. | Too few birds.
 | Fences break in every storm.

theme: pirates
store: Action | Adventure
genre: pirate game | sailing adventure | naval combat game
mood: swashbuckling | salty | adventurous | rowdy | windswept | treacherous
who: a captain with a wooden hand | a runaway navigator | a crew of friends with one rotten ship
 | a governor turned pirate
place: the Caribbean in its golden age | a sea of fog and sirens | a chain of volcanic islands | a port of thieves
act: sail by wind and stars | fire broadsides at galleons | dig up buried treasure | board enemy ships
 | sing shanties with your crew | smuggle rum | bribe the harbour master | fight a kraken | trim the sails
 | follow a torn map
stakes: before the navy finds you | for gold and glory | with a storm on the horizon | and share the loot
feature: Open seas with {n} islands | Ships crewed by up to {n} friends | Naval battles with real wind
 | Treasure maps to decipher | Shanties to sing together | Sea monsters in deep water
first: Black | Salty | Cursed | Crimson | Golden | Storm | Jolly | Rum | Kraken's | Sea
second: Tide | Corsair | Buccaneers | Treasure | Galleon | Sails | Plunder | Captain | Mutiny | Doubloon
praise: Broadsides in a storm with my crew screaming: unforgettable.
 | Found the treasure by a riddle, no marker needed. | Sailing itself is the best part.
 | The shanties are stuck in my head. | We lost all our gold to another crew and laughed for an hour.
 | The kraken fight is incredible.
gripe: Alone you are just prey. | Islands repeat. | Boarding is button mashing. | Long stretches of empty sea.

theme: rhythm
store: Action | Casual | Indie
genre: rhythm game | music game | beat-matching game
mood: pulsing | catchy | hypnotic | energetic | groovy | synesthetic
who: a drummer who lost the beat | a beetle on a shining road | a DJ at the end of time | a choir of robots
place: a tunnel of light | a club under the sea | a city that dances | a stage in the clouds
act: hit notes to the beat | drum along with the bass | dance with both hands | chain perfect combos
 | import your own songs | slide, hold and tap | compose loops | follow the melody | battle DJs | survive the chorus
stakes: without missing a beat | faster and faster | for a perfect score | until your fingers hurt
feature: {n} original tracks from synthwave to swing | Five difficulty levels for each song | A beatmap editor
 | Import of your own music | Leaderboards for each track | VR mode and drum kit support
first: Beat | Neon | Pulse | Bass | Melody | Rhythm | Synth | Sonic | Tempo | Electric
second: Drop | Dancer | Groove | Tracks | Drummer | Chorus | Encore | Symphony | Club | Tempo
praise: The soundtrack alone is worth it; my fingers still tap. | Perfect combo on hard after fifty tries.
 | Notes feel exactly on the beat. | Importing my own songs gives endless content. | It puts you into a trance.
 | The drum kit support is superb.
gripe: Audio lag on wireless headphones. | Too few songs, the rest is DLC. | Calibration never gets it right.
 | Hard mode is unreadable.

theme: fighting
store: Action | Sports
genre: fighting game | 2D fighter | arena brawler
mood: explosive | technical | stylish | fierce | flashy | competitive
who: a wrestler in a panda mask | a monk who broke her vow | a street fighter with a metal fist
 | a chef with lethal knives
place: a temple courtyard | a subway station at night | a tournament on a volcano | a ring in the rain
act: chain combos into supers | block, parry and counter | practise frame data in training mode | win the tournament
 | fight friends on one couch | master quarter-circle moves | punish mistakes | climb online ranks | learn match-ups
 | throw opponents out of the ring
stakes: best of three | with one pixel of health | in front of the crowd | until your thumbs blister
feature: {n} fighters with distinct styles | Rollback netcode | Training mode with frame data and hitboxes
 | A story for each fighter | Local versus and tournaments for {n} players | Simple inputs for beginners
first: Iron | Street | Dragon | Fury | Final | Savage | Tiger | Blood | Mighty | Shadow
second: Fist | Fighters | Knockout | Brawl | Duel | Combat | Tournament | Kombo | Champion | Rumble
praise: The rollback netcode is flawless. | Combos are deep, but my little sister wins with one button.
 | Parries feel so good. | Every character plays in a new way. | Best training mode in the genre.
 | Couch versus with pizza: the perfect evening.
gripe: The boss reads your inputs. | Half the cast is sold as DLC. | Nobody online at my rank.
 | Grabs beat everything.

theme: winter survival
store: Adventure | Simulation
genre: wilderness survival game | survival crafting game | open-world survival game
mood: freezing | harsh | lonely | beautiful | unforgiving | quiet
who: a bush pilot after the crash | a trapper in the northern dark | a botanist cut off by snow
 | the survivor of an expedition to the pole
place: the frozen Canadian wilderness | a snowed-in valley | the arctic after a blackout | a forest of wolves
act: light a fire in a blizzard | hunt deer for meat and hide | craft a warmer coat | shelter in caves | chop wood
 | follow tracks in the snow | fend off wolves | melt ice for water | repair a hut | watch your body heat
stakes: before the cold takes you | one more night | with two matches left | far from anyone
feature: Cold, hunger, thirst and fatigue to balance | {n} square kilometres of wilderness | Permadeath survival mode
 | Wolves and bears that hunt by scent | Crafting from bark, bone and hide | A day-night cycle with auroras
first: Frozen | Long | White | Northern | Winter | Cold | Arctic | Silent | Wolf | Last
second: Wilderness | Blizzard | Survival | Frost | Snowfall | Trapper | Embers | Tundra | Dusk | Hunger
praise: I survived forty days and a wolf took me ten steps from the hut.
 | The snowstorm sounds are chilling, literally. | Lighting the last match in a blizzard is pure tension.
 | Loneliness has never been so beautiful. | Every decision costs warmth.
 | The aurora over the lake made me stop and stare.
gripe: Wolves track you across the whole map. | Crafting takes for ever. | You starve within an hour.
 | Inventory weight is silly.

theme: mecha
store: Action | Strategy
genre: mech combat game | giant robot action game | turn-based mech tactics
mood: thunderous | stylish | tactical | apocalyptic | heavy-metal | neon
who: a pilot fused to a war machine | an academy cadet in a stolen mech | a mechanic who builds titans from scrap
 | a squad of veterans with leaking reactors
place: a city under siege by giants | a red desert of wrecks | an orbital elevator | a world of endless war
act: pilot a giant mech | swap arms, legs and cannons | manage heat and ammunition | fire missile salvos
 | jet-boost over skyscrapers | salvage parts from fallen robots | lead a lance of four mechs | punch a colossus
 | customise armour and paint | aim for the cockpit
stakes: before the reactor melts | against machines the size of towers | with one arm left | for the last free city
feature: {n} parts for billions of mechs | Destructible cities | {n} missions with branching contracts
 | Arena duels online | Heat, weight and ammunition to balance | Mechs of {n} metres
first: Titan | Steel | Colossus | Heavy | Rust | Omega | War | Reactor | Iron | Atlas
second: Mech | Frame | Protocol | Pilots | Core | Machines | Lance | Exo | Hangar | Robots
praise: Nothing beats punching a building-sized robot through a building.
 | I spend more time in the hangar than in battle. | Customisation is endless and it matters.
 | The weight of each step is just right. | Tactical, loud and gorgeous. | My mech lost an arm and still won.
gripe: Overheats after two shots. | Missions repeat. | Camera swings wildly indoors. | The parts grind never ends.

theme: pets
store: Casual | Simulation
genre: pet sim | cat game | animal companion game
mood: adorable | fluffy | silly | wholesome | playful | cuddly
who: a stray kitten in a big house | the owner of a cat cafe | a clumsy puppy with a mission | a witch's lazy cat
place: a cat cafe | a sunny flat full of shelves | a seaside town run by cats | a shelter before Christmas
act: pet every cat | knock vases off shelves | adopt puppies from the shelter | brush fluffy fur
 | teach your dog new tricks | decorate the cat cafe | chase butterflies | find a home for every kitten
 | nap in the sun | steal fish from the market
stakes: because you are a cat | until everyone is adopted | and be forgiven | nine lives long
feature: {n} breeds with real meows and woofs | A cafe to decorate | Photo mode for the perfect nap | Hats for cats
 | Mini-games with {n} toys | Each pet has its own personality
first: Fluffy | Kitty | Paw | Whisker | Purrfect | Puppy | Little | Lazy | Tiny | Sleepy
second: Cats | Cafe | Paws | Kitten | Tails | Whiskers | Shelter | Puppies | Meow | Companions
praise: You can pet the cat. All of them. Ten out of ten. | Knocking over vases is a dream come true.
 | My daughter loves the puppies. | The purring through the controller got me. | Cutest game of the year.
 | I adopted a real cat because of this.
gripe: Very short. | The dog gets stuck behind the sofa. | More hats, please. | Not much to do once the cafe is full.

theme: party
store: Casual | Action
genre: party game | couch multiplayer game | mini-golf party game
mood: hilarious | chaotic | silly | rowdy | friendly | unfair
who: wobbly jelly people | eight sheep with helmets | a gang of rubber ducks
 | friends who will not be friends tomorrow
place: a mini-golf course of windmills | a game show in space | a bouncy castle | a holiday camp gone wrong
act: push friends off the platform | putt through windmills | draw terrible pictures | guess who is lying
 | steal the crown in the last second | play on one couch or online | vote for the funniest answer
 | race shopping trolleys | dodge giant fruit | use your phone as a controller
stakes: in rounds of three minutes | and ruin friendships | with up to eight players
 | until somebody cries from laughing
feature: {n} mini-games for {n} players | Phones work as controllers | {n} mini-golf courses with an editor
 | Local and online play | Rules that a grandmother understands | Custom rounds with silly modifiers
first: Wobbly | Party | Silly | Chaos | Couch | Golf | Jelly | Crazy | Happy | Rubber
second: Party | Friends | Mayhem | Putt | Games | Show | Ducks | Rumble | Tumble | Night
praise: We laughed until it hurt. | New Year's Eve was saved by this game. | Everyone gets it in ten seconds.
 | The mini-golf with wind is hilarious. | My parents beat us all. | Perfect with eight people and snacks.
gripe: Boring alone. | Needs more mini-games. | Online lag ruins the timing.
 | The same three rounds come up again and again.

theme: walking sim
store: Adventure | Indie
genre: narrative adventure | walking simulator | atmospheric exploration game
mood: poetic | quiet | moving | nostalgic | tender | haunting
who: a daughter who clears her mother's house | a park ranger with a radio | a letter carrier on the last route
 | an old man who walks home once more
place: an empty family house | an island without people | a forest in autumn light | a village the sea is taking
act: read letters and postcards | wander through rooms full of memories | listen to old tapes
 | follow a story in fragments | look at photographs | walk along the shore | remember what was lost
 | talk on the radio | open drawers nobody has opened for years | say goodbye
stakes: in a single evening | until you understand | and carry it with you | without a fight or a puzzle
feature: A story of {n} hours, told by places | Fully voiced by a cast of {n} | No combat, no timers
 | An original piano score | Every object can be picked up and looked at | Subtitles in {n} languages
first: Last | Empty | Letters | Autumn | Distant | Quiet | Fading | Mother's | Salt | Remembered
second: House | Letters | Shore | Home | Memory | Walk | Rooms | Postcards | Goodbye | Light
praise: I sat in silence for ten minutes after the credits. | It made me call my mother.
 | The house tells more than any dialogue could. | Beautiful, short and sad. | The piano score is wonderful.
 | A story only a game can tell.
gripe: You walk, slowly, and that is all. | Two hours for this price? | Pretentious in places. | No replay value.

theme: western
store: Action | Adventure | RPG
genre: western action game | cowboy adventure | wild west shooter
mood: dusty | gritty | sun-bleached | lawless | laconic | vengeful
who: a bounty hunter with a bad tooth | a sheriff without a town | a widow with a rifle | an outlaw who found religion
place: a gold-rush town | the badlands | a saloon at the end of the line | a canyon of rustlers
act: duel at high noon | hunt bounties across the desert | rob the night train | play poker in the saloon
 | tame wild horses | rustle cattle | shoot bottles off a fence | track outlaws | drink with the undertaker
 | draw faster than the other
stakes: for a fistful of silver | before the hangman comes | dead or alive | under a merciless sun
feature: {n} bounties with moral choices | Horses to tame and name | Duels decided by nerve | A frontier of {n} towns
 | Revolvers with six shots and no more | Poker, dice and bar fights
first: Dusty | Six | Dead | Outlaw | Silver | Lone | Bitter | High | Rattlesnake | Last
second: Gun | Noon | Bounty | Sheriff | Saloon | Trail | Outlaws | Frontier | Revolver | Canyon
praise: The duels are nail-biting. | My horse died and I buried him, that is how good this is.
 | Sunsets over the canyon are stunning. | The poker alone took twenty hours. | Writing as dry as the desert.
 | Robbing a train with friends is a classic already.
gripe: Horses get stuck on pebbles. | Gunfights are whack-a-mole. | The story loses its way in act two.
 | Too much riding through nothing.

theme: language
store: Casual | Simulation
genre: educational game | language learning game | history quiz game
mood: friendly | clever | instructive | playful | curious | encouraging
who: an exchange student in a talking city | a parrot who collects words | a museum guide with amnesia
 | a class of nine and their robot teacher
place: a market where nobody speaks your language | a museum after closing time | a school on an airship
 | a town of signs without words
act: learn new words every day | practise grammar with townspeople | answer quiz questions about history
 | listen and repeat | order food in Spanish | write Japanese characters stroke by stroke | solve maths riddles
 | review flash cards | trace maps of the world | pass the exam
stakes: ten minutes a day | without noticing that you study | from the first word to a conversation | at any age
feature: {n} hundred words in {n} languages | Lessons checked by teachers | Spaced repetition that fits your memory
 | Recordings by native speakers | Progress reports for parents | No advertising
first: Word | Bright | Clever | Speak | Polyglot | Quiz | Little | Grammar | Map | Daily
second: School | Lessons | Words | Academy | Teacher | Phrasebook | Atlas | Tutor | Alphabet | Exam
praise: I ordered dinner in Spanish after two months with this. | Learning characters stroke by stroke finally works.
 | My pupils ask for it. | It hides grammar inside a charming town. | The spaced repetition is well done.
 | Fun enough that I forget that I am studying.
gripe: Only for beginners. | The voices sound robotic. | Wrong translations in chapter four. | More languages, please.
"""
