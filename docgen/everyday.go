package docgen

import "sync"

// everydayWords, by language, go with any subject: what one does with things,
// what they are like, how much and how long. Among few sections, where rarity
// tells nothing, a question keeps them with little weight. Compared by stem; a
// form that the stemmer does not join is listed too.
var everydayWords = sync.OnceValue(func() map[language]map[string]bool {
	sets := map[language]map[string]bool{}
	for lang, words := range map[language]string{
		"en": `accept actual amount apply appear arrive ask away back become became belong big biggest borrow bought break bring broke broken brought build built buy carry
			cheap check close come control cost cut deliver different discard early enough enter exist expect expensive fast faster fastest fee feel finish free get give given
			go gone grow hand hard hear held hold hour include inside join keep kept late later leave left let lose lost lot made maximum measure meet minimum minute
			miss money month move necessary need needed note number obtain often order paid pay person piece place possible prepare price provide put quantity quick quicker quickest quickly
			reach receive remain remove repair replace require rest return room save second see sell send sent serve share short show size soon speak spend start stay store
			suitable take taken talk tell temperature thrown throw time today together told tomorrow took touch type usual visit wait watch wear week weekend weight write written`,
		"de": `abgeben abholen ändern anfangen anrufen antworten arbeiten aufbewahren aufbewahrt aufhören ausfallen bekommen bekomme benutzen bestellen bezahlen bleiben brauchen bringen dauern dauert
			dürfen darf erhalten erlauben erlaubt fahren fährt fallen fangen finden fragen früh funktionieren geben gehen gehören gelten gilt genug geöffnet geschlossen groß gut günstig
			halten heißen helfen holen kaufen kennen klein kommen kosten kostet kostenlos kurz lang lange lassen laufen legen leicht lernen lesen liegen machen melden mitbringen mitnehmen mögen möglich müssen
			nehmen nennen neu neue neuer neues nötig nutzen nützen öffnen passen passt passieren reichen richtig rufen sagen schicken schließen schlecht schnell schreiben sehen setzen sprechen
			spät stehen stellen suchen teuer tragen treffen trennen verboten vergessen verkaufen verlieren verloren verwenden viele voll wählen warten wechseln weit wenig wichtig wissen wohnen
			zahlen zeigen ziehen zulässig alt alte alter beginnen beginnt enden uhr uhrzeit zeit preis geld euro minuten stunden tage wochen monate jahre personen leute menge anzahl höhe größe temperatur`,
		"fr": `acheter aller appeler apporter arriver attendre autoriser autorisé avoir besoin bon bonne changer chercher cher chère choisir commencer combien connaître coûter coûte croire demander dernier
			devenir dire donner durer dure écrire emporter entrer envoyer essayer faire fermer finir garder grand gratuit heure heures homme important interdit jour jours laisser lire long longtemps
			manquer mettre minute minutes mois moins moment montrer montant nécessaire nombre nouveau nouvelle obligatoire obtenir ouvrir ouvre ouvert ouverte parler partir part passer payer payé perdre perd perdu petit
			personne personnes pièce place porter possible poser pouvoir prendre premier prêter prix prévoir prévenir quantité rapporter recevoir rendre réserver rester retard savoir semaine semaines servir sortir suivre température temps
			tenir trouver utiliser valable vendre venir vieux vieille voir vouloir annuler`,
		"es": `abierto abrir abre admitir ayudar bajar barato buscar cambiar caro cerrar cerrado cierra coger comenzar comprar conocer conseguir costar cuesta cuestan creer cuántos cuántas cuanta cuantos cuantas cuánto cuánta
			dar dejar deber decir devolver día días dinero durar dura empezar empieza encontrar encuentra entrar enviar escribir escuchar esperar euros gratis gran grande guardar hablar hora horas importante ir llamar llegar llevar
			lugar mandar máximo mejor mes meses minuto minutos mínimo mirar necesario necesitar necesita número nuevo nueva obtener ofrecer pagar parar pasar pedir pide pensar perder pierde perdido permitir permitido persona personas poner posible precio
			prestar probar prohibido quedar quitar recibir recoger reservar retirar sacar salir seguir semana semanas servir subir tarde temperatura temprano tiempo tirar tomar trabajar traer usar vale vender venir ver viejo vivir volver`,
		"it": `aprire apre aperto arrivare aspettare avere bisogno cambiare cercare chiudere chiuso comprare costare costa dare dire durare dura entrare euro giorni giorno gratis guardare lasciare massimo mese mesi mettere minuti nuovo ora ore pagare
			perdere perso permesso persone portare possibile prendere prezzo prima quantità quanti quante restituire ricevere rimanere settimana settimane smettere tempo tenere trovare usare uscire vecchio vedere vendere venire vietato`,
		"pt": `abrir abre aberto ajudar buscar chegar comprar conseguir custar custa dar deixar demorar devolver dia dias dinheiro durar encontrar entrar enviar euros fechar fechado ficar grátis guardar hora horas levar lugar mês meses minutos
			novo obter pagar pedir perder perdido permitido pessoas pegar possível preço proibido quantos quantas quantidade receber sair semana semanas tempo tirar trazer usar velho vender ver vir`,
		"nl": `beginnen betalen bewaren blijven brengen dagen duren duurt duur euro geld geopend gesloten gratis groot halen houden huren jaar kopen kost kosten krijgen laat lang lange maand minuten nemen nieuw nodig open openen oud personen prijs
			snel sluiten sturen tijd toegestaan uur verboten verkopen verliezen verloren vinden vragen wachten week weken zetten zien`,
	} {
		sets[lang] = map[string]bool{}
		for w := range wordSet(words) {
			sets[lang][stemWord(w, lang)] = true
		}
	}
	return sets
})
