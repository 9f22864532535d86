# ruff: noqa: RUF001, E501 - texts as people write them.
"""Texts with marked personal data, ``{{kind:what}}``, as they stand in five kinds of places.

All people, numbers and addresses are invented.  Names were chosen before and without looking at the
lists that the scrubber uses.
"""

from __future__ import annotations

TWEETS = """
just aped into $PEPE because {{handle:@moonboy_77}} said so lol
gm {{handle:@0xSarah}} {{handle:@degen.trader}} when binance listing??
{{name:Elena Vasquez}} called the top again, respect
RT {{handle:@CryptoWhale}}: this is going to zero
dm me or mail {{email:marcus.hale@protonmail.com}} for the alpha group
dev wallet {{wallet:0x8f3Cf7ad23Cd3CaDbD9735AFf958023239c6A063}} just dumped 4% on us
thread by {{name:Tomasz Kowalczyk}} on why the LP is not locked 🧵
bro {{name:Kevin}} lost his house on this rug 😂
sent 2 sol to {{wallet:7xKXtg2CW87d97TXJSDpbD5jBkheTqA83TZRuJosgAsU}} and got nothing back
follow {{handle:@lady_luck_22}} she is never wrong
whatsapp me {{phone:+1 415 555 2671}} signals 90% accuracy
{{name:Aisha Bello}} and {{name:Chidi Okonkwo}} doxxed the whole team
congrats {{wallet:vitalikfan.eth}} on the 100x
my uncle {{name:Giuseppe}} bought at ATH, pray for him
the CEO {{name:Dmitri Volkov}} resigned yesterday, bearish
{{handle:@satoshi_lite}} {{handle:@gigachad}} whales are accumulating $PEPE hard
call {{phone:(212) 555-0187}} if you want to sue the devs
{{name:Nguyen Van Minh}} is the dev, he rugged 3 tokens before
price went from 0.0000012 to 0.0000450 in 24 hours, market cap 4,500,000 now
""".strip().splitlines()

TELEGRAM = """
Admin here, never DM first. Contact {{handle:@real_admin_bob}} only
join https://t.me/pumpgroup now, pump at 18:00 UTC
Отправь на {{wallet:TJRabPrwbZy45sbavfcjinPJC18kjpRTv8}} и получишь x2
меня зовут {{name:Сергей Иванов}}, я продаю {{phone:+7 916 123-45-67}}
pls help {{name:rajesh kumar}} cant withdraw his tokens
support: {{email:help.desk99@gmail.com}} or telegram {{handle:helpdesk_99}}
hola soy {{name:María Fernández}}, escríbeme al {{phone:+34 612 34 56 78}}
my wallet is {{wallet:0x1aD91ee08f21bE3dE0BA2ba6918E714dA6B45836}} send airdrop
{{name:Fatima}} said the contract is renounced, bullish
Bonjour, je m'appelle {{name:Luc Moreau}} et j'ai perdu 3 ETH
ton wallet {{wallet:EQCD39VS5jcptHL8vMjEXrzGaRcCVYto7HUn4bpAOg8xqB2N}} for donations
{{handle:@Ivan_Petrov}} {{handle:@SofiaM}} please ban the scammer
{{name:王伟}} 说要涨了, 大家快买
btc donations {{wallet:bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh}}
Ping {{name:Olga Smirnova}} for the whitelist
Mein Name ist {{name:Jürgen Schäfer}}, erreichbar unter {{phone:+49 151 23456789}}
OTC deal? {{phone:+971 50 123 4567}} ask for {{name:Khalid}}
kontakt {{email:jan.nowak@wp.pl}} tel {{phone:+48 601 234 567}}
sold everything at 2x, dev is based, liquidity locked for 12 months
""".strip().splitlines()

REDDIT = """
Credit to {{handle:u/throwaway_trader99}} for finding the mint function in the contract.
As {{handle:/u/LunaSurvivor}} wrote, 40% of the supply sits in one wallet: {{wallet:0x742d35Cc6634C0532925a3b844Bc454e4438f44e}}.
My brother-in-law {{name:Patrick O'Brien}} works there and says the audit was faked.
Edit: {{name:Hannah Lindqvist}} from the team answered my mail ({{email:hannah@lindqvist.dev}}).
I live at {{address:1420 Maple Avenue, Springfield, IL 62704}} and nobody here accepts crypto.
He scammed people under the name {{name:Jonathan Pryce-Williams}} before.
Reported to the police in Leeds. His address is {{address:27 Albion Street, Leeds LS1 6AG}}.
You can reach the lawyer at {{phone:+44 20 7946 0958}} or {{email:office@bakerlaw.co.uk}}.
The founder, {{name:Mehmet Yılmaz}}, has three failed projects behind him.
TL;DR: bought at 3M market cap, sold at 9M, do your own research.
{{name:Priya Raghunathan}} did a great write-up about liquidity locks.
Discord: {{handle:coinlord#4821}} is the main shiller in every channel.
Her real name is {{name:Zsófia Nagy}}; she moved the funds to {{wallet:0x53d284357ec70cE289D6D64134DfAc8E511c8a3D}}.
I asked {{name:Samuel}} and {{name:Beatriz}} from support, both said it is fine.
Doxxed team: {{name:Lars Johansson}}, {{name:Oluwaseun Adeyemi}} and {{name:Kenji Watanabe}}.
The team moved to {{address:Calle Serrano 41, 28001 Madrid}} last year, they say.
The yield is 12% per month, which is obviously a Ponzi scheme.
""".strip().splitlines()

FORUM = """
Kind regards, {{name:Dr. Heinrich Vogel}}, {{address:Lindenstraße 14, 50674 Köln}}
For refunds write to {{email:refund (at) tokenbase (dot) com}} before Friday.
Mr {{name:Albert Fitzgerald}} owns 12% of the supply according to the filing.
My Skype: {{handle:trader_joe_1980}}, my mail: {{email:joe.trader1980@yahoo.com}}
Send the documents to {{address:5 rue de Rivoli, 75001 Paris}} please.
The seller gave the number {{phone:020 7946 0123}} and vanished.
Signed, {{name:Catherine Dubois}} ({{email:c.dubois+crypto@orange.fr}})
Mrs {{name:Gupta}} lost her pension in this presale.
Escrow by {{name:Vladimir Kuznetsov}}, deposit to {{wallet:1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2}}
{{address:742 Evergreen Terrace, Springfield}} is where the company is registered, a joke.
Il mio nome è {{name:Francesco Bianchi}}, abito in {{address:Via Garibaldi 22, 20121 Milano}}
Tel. {{phone:0171 2345678}}, fragen Sie nach {{name:Annegret}}.
The company has its seat at {{address:P.O. Box 3321}}, Road Town.
Ask {{name:Siobhan Gallagher}} at extension 12 about the vesting schedule.
mail {{email:peter dot parker at gmail dot com}} for the spreadsheet
The token uses a 5% tax on sells and a 3% tax on buys, liquidity is 80,000 USD.
""".strip().splitlines()

MIXED = """
¿Quién es {{name:Alejandro Ruiz}}? dice que listará en Binance, tel {{phone:+52 55 1234 5678}}
{{name:Анна Кузнецова}} пишет что токен скам, адрес {{address:ул. Ленина, д. 15, кв. 4}}
Ich habe {{name:Wolfgang Meier}} angezeigt, wohnhaft {{address:Hauptstr. 7, 80331 München}}
meu nome é {{name:João da Silva}}, zap {{phone:+55 11 91234-5678}}
{{name:김민준}} 님이 지갑 {{wallet:0x3f5CE5FBFe3E9af3971dD833D26bA9b5C936f0bE}} 공개했어요
{{name:佐藤健}} さんのツイート見た？ {{handle:@sato_ken_jp}}
arkadaşım {{name:Ayşe Demir}} çok kazandı, insta: {{handle:ayse.demir_34}}
je suis {{name:Amélie Lefèvre}}, mon mail {{email:amelie.lefevre@free.fr}}, {{phone:+33 6 12 34 56 78}}
{{name:Wanjiku Kamau}} from Nairobi runs the bot, M-Pesa {{phone:+254 712 345678}}
Pozdrawiam, {{name:Katarzyna Wiśniewska}}
{{name:محمد علي}} قال ان العملة نصب
contatto {{handle:@luca_rossi88}} o {{email:luca.rossi@libero.it}}
{{name:Nguyễn Thị Hoa}} bảo mua đi, sđt {{phone:+84 91 234 56 78}}
voy a comprar mas $PEPE esta noche, to the moon amigos
Der Kurs fällt seit Tagen, ich verkaufe alles.
""".strip().splitlines()

TEXTS = {
    "tweets": TWEETS,
    "telegram": TELEGRAM,
    "reddit": REDDIT,
    "forum": FORUM,
    "mixed": MIXED,
}
# Nobody is in these: nothing of them should be taken.
HARMLESS = """
The Market Cap is 4,500,000 USD and the Liquidity Pool holds 120 ETH.
Uniswap V2 pairs on Ethereum need WETH, Base and Arbitrum are cheaper.
Max supply 1,000,000,000,000 tokens, 5% tax, renounced on 2026-01-05 12:30:00.
Will the Dev lock the LP? Hope so, the chart looks Grand.
Buy the dip at 0.00000123, sell at 0.00000456, stop at 15%.
Block 18234567, gas 35 gwei, slippage 12.5%.
BULLISH ON THIS GEM, NEXT STOP THE MOON
Bitcoin and Solana pumped in May and June, Doge followed in August.
The White Paper says Token holders get a share of Fees each Friday.
This honeypot drained everyone, do not buy, total scam.
liquidity was removed at 14:05 and the price fell 97% in 3 minutes
""".strip().splitlines()
