"""Function words of languages, by script: what `language` tells languages of one script apart with."""

LATIN = {
    "en": """
        the of and to in is that it for was with as on are this be by at or from have an not you which
        your can what how will would there their they has been were we my please should about when who i
        do does into if but
    """,
    "ms": """
        yang dan di untuk dengan ini itu adalah tidak saya kami kita anda dari pada ke dalam akan boleh
        bisa telah sudah oleh kepada ada atau juga seperti apa bagaimana siapa mereka lebih sila tolong
        nama nak tak awak aku kamu sebagai karena kerana dapat hanya bagi para lah sangat jika kalau mana
        dia ialah belum harus perlu masih cara apakah ingin mahu mau buat bahwa bahawa serta tentang
        mengenai saja sahaja
    """,
    "sw": """
        ya wa na kwa ni katika za la cha hii hiyo kuwa kama wake yake watu lakini au pia ili kwamba nini
        jinsi gani yangu yako wangu tafadhali naomba sana hapa huo hizo wetu yetu mimi wewe yeye sisi nina
        una ana tuna wana hakuna sasa bila baada kabla kila je vipi ambayo ambao huu hili kutoka kwenye
        habari ndiyo hapana nataka niambie
    """,
    "vi": """
        là của và không có được người những cho trong một các với này đã tôi bạn để từ khi như thì mà ở về
        cũng ra nào gì sẽ đang hãy rất hay hoặc nếu vì sao làm thế nhiều đến anh chị em phải cần xin vui
        lòng giúp đó theo
    """,
    "de": """
        der die das und ist nicht ich sie wir mit für auf ein eine den von zu dem des im wie was bei auch
        als an es werden wird kann haben hat sind oder aber nach aus mein ihr bitte über zum zur einen
        einer sich noch nur durch
    """,
    "fr": """
        le la les des est et un une du que qui dans pour pas ne sur avec ce il elle nous vous je au aux
        par plus sont mon ma mes votre comment être cette ces ou mais où quel quelle peut fait leur son sa
        ses donc très
    """,
    "es": """
        el la los las de que y en un una es por con para no se del al lo como más su mi pero este esta son
        cómo qué puede hay está nos sus me te ser tiene muy sin sobre también yo usted cuando donde quién
        porque
    """,
    "it": """
        il di che è la per un una non in con del della sono ho mi come si al dei le gli lo da nel alla ma
        anche più questo questa cosa perché essere ha i delle può mio quando dove chi se molto sua suo
        vorrei
    """,
    "pt": """
        o de que e do da em um uma para não com os as é por mais no na se como ao dos das meu minha você
        eu são seu sua está foi isso este esta mas ou quando muito também pode tem nos pelo pela sobre
        onde quem
    """,
    "nl": """
        de het een en van ik is dat niet op te in voor met zijn aan hoe wat er maar om ook als mijn je u
        bij naar wordt kan hebben heeft dit deze uit nog wel zou moet worden door wij ze geen kunt graag
    """,
    "pl": """
        i w na z do nie się jest to że jak co po od dla o za czy ten przez są być może mój moja tego oraz
        ale mam jego jej ich które który która proszę bardzo tylko gdzie kiedy kto pod przed
    """,
    "sv": """
        och att det är som en på för av med den till inte har jag ett om vi kan du hur vad från eller när
        var ska min mitt också men så vill blir efter
    """,
    "da": """
        og at det er som en på for af med den til ikke har jeg et om vi kan du hvordan hvad fra eller når
        skal min også men så vil bliver efter være meget
    """,
    "fi": """
        ja on ei se että oli hän mutta ovat kun tämä minun mitä miten voi olen sinä minä joka kuin myös
        jos vain niin tai sen kanssa ole
    """,
    "cs": """
        a je se na že v s z to do jak co jsem není ale pro jako by po k o když už jsou která který jeho
        můj prosím nebo být tak mám
    """,
    "ro": """
        și în de la cu este nu pe un o care sunt din pentru că mai ce cum sau dar fi am ai al ale vă rog
        acest această prin după
    """,
    "hu": """
        a az és hogy nem is egy van de meg mi ez ki kell volt csak vagy már lehet mint hogyan kérem nekem
        után
    """,
    "tr": """
        ve bir bu için ile de da ne nasıl çok daha var olan olarak gibi ben sen o ama mi mı değil her
        kadar lütfen benim sonra
    """,
    "tl": """
        ang ng mga sa na ay at ko mo ako ikaw siya namin kami hindi po kung ano paano para ito iyan iyon
        may wala dahil pero kanyang nila nito
    """,
    "hr": """
        je i u na se da za su od s sa što kao ali ili nije kako biti bio ima ja ti mi koji koja koje može
        moj molim
    """,
}

CYRILLIC = {
    "bg": """
        на и е да се за от с в са че по като това не съм как какво моля или което който
    """,
    "ru": """
        и в не на что я с как это по но он она мы вы для от из у за то его все так или быть мой
    """,
    "uk": """
        і в не на що я з як це по але він вона ми ви для від та у за його все або бути мій є
    """,
}

ARABIC = {
    "fa": """
        است که را این با از برای شما می های به در آن من چه
    """,
    "ur": """
        ہے کے کی میں کا سے کو اور یہ ہیں پر نہیں کیا آپ
    """,
}
