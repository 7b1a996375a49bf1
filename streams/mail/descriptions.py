"""What each category and each urgency says, in a few short descriptions that the encoder compares a mail with.

The model was trained on English; it knows other languages by the words they share with a description, so each label is
described in several. Labels are described in the same languages as one another, so that no language speaks for one.
"""

from __future__ import annotations

CATEGORY_DESCRIPTIONS: dict[str, tuple[str, ...]] = {
    "personal": (
        "A personal letter from family or a friend, with private news, an invitation to visit, and love.",
        "Hey, shall we meet for dinner on Friday? Looking forward to seeing you, hugs",
        "Liebe Oma, lieber Freund, wie geht es euch? Wir freuen uns auf dich am Wochenende. Liebe Grüße von der Familie",
        "Salut, comment vas-tu ? On fête l'anniversaire à la maison avec les enfants samedi, bisous à toute la famille",
        "Hola, ¿cómo estás? Nos vemos el fin de semana en casa con la familia y los niños, un abrazo",
    ),
    "work": (
        "A message from a colleague about a project, a meeting, a deadline or a report at work.",
        "Hi team, please review the attached draft before the meeting with the client",
        "Hallo zusammen, die Besprechung zum Projekt ist morgen, bitte prüft den Bericht bis zum Termin mit dem Kunden",
        "Bonjour à tous, la réunion du projet aura lieu demain, merci de relire le rapport avant l'échéance du client",
        "Hola equipo, la reunión del proyecto es mañana, por favor revisad el informe antes de la entrega al cliente",
    ),
    "newsletter": (
        "A newsletter or mailing list issue with articles to read, which can be unsubscribed.",
        "This week in our newsletter: top stories, new articles and tips from the editors",
        "Unser Newsletter dieser Woche: neue Artikel, Tipps und Angebote. Hier können Sie sich vom Newsletter abmelden",
        "Notre lettre d'information de la semaine : articles, conseils et actualités. Se désabonner de la newsletter",
        "Nuestro boletín de la semana: artículos, consejos y novedades. Darse de baja de este boletín",
    ),
    "notification": (
        "An automatic notification from an app or website that something happened.",
        "Someone commented on your post, mentioned you or sent you a message: open the app to see it",
        "Benachrichtigung: Jemand hat Ihren Beitrag kommentiert, Ihr Paket wurde zugestellt, neue Nachricht in der App",
        "Notification : quelqu'un a commenté votre publication, votre colis a été livré, nouveau message",
        "Notificación: alguien ha comentado tu publicación, tu paquete ha sido entregado, mensaje nuevo",
    ),
    "invoice": (
        "An invoice, bill or receipt with an amount that was paid or is due.",
        "Please find your invoice: invoice number, total amount due, VAT, payment by bank transfer",
        "Ihre Rechnung: Rechnungsnummer, Gesamtbetrag inkl. MwSt., bitte überweisen Sie den Betrag bis zum Fälligkeitsdatum",
        "Votre facture : numéro de facture, montant total TTC, TVA, à payer par virement avant l'échéance",
        "Su factura: número de factura, importe total con IVA, pago por transferencia antes del vencimiento",
    ),
    "travel": (
        "A travel booking: flight, train, hotel or car reservation with an itinerary.",
        "Your flight is confirmed: booking reference, departure, arrival, check-in online",
        "Ihre Buchung ist bestätigt: Flug, Abflug und Ankunft, Bahnticket, Hotelreservierung, Buchungsnummer, Check-in",
        "Votre réservation est confirmée : vol, départ et arrivée, billet de train, hôtel, numéro de réservation",
        "Su reserva está confirmada: vuelo, salida y llegada, billete de tren, hotel, localizador",
    ),
    "security": (
        "A security alert: a new sign-in, a password reset or a verification code.",
        "We noticed a new sign-in to your account from a new device; if it wasn't you, change your password",
        "Sicherheitswarnung: neue Anmeldung bei Ihrem Konto, Passwort zurücksetzen, Ihr Bestätigungscode",
        "Alerte de sécurité : nouvelle connexion à votre compte, réinitialiser le mot de passe, code de vérification",
        "Alerta de seguridad: nuevo inicio de sesión en su cuenta, restablecer la contraseña, código de verificación",
    ),
    "support": (
        "A customer support request or an answer to a ticket about a problem with a product.",
        "Thank you for contacting support about your ticket; please try these steps and tell us if it works",
        "Ihre Anfrage an den Kundendienst, Ticket zu einem Problem mit dem Gerät, unser Support hilft Ihnen weiter",
        "Votre demande au service client, ticket d'assistance à propos d'un problème avec le produit",
        "Su solicitud al servicio de atención al cliente, incidencia sobre un problema con el producto",
    ),
}

URGENCY_DESCRIPTIONS: dict[str, tuple[str, ...]] = {
    "low": (
        "Nothing has to be done: news, offers, tips and updates to read some time, or not at all.",
        "No hurry, whenever you have time; just for your information.",
        "Keine Eile, nur zur Information, wenn du einmal Zeit hast",
        "Rien ne presse, simplement pour information, quand vous aurez le temps",
        "Sin prisa, solo para su información, cuando tenga tiempo",
    ),
    "normal": (
        "An ordinary message that wants an answer or a look in the next days.",
        "Please let me know what you think by next week; here are the details that you asked for.",
        "Bitte gib mir in den nächsten Tagen Bescheid, anbei die gewünschten Unterlagen",
        "Merci de me répondre dans les prochains jours, voici les informations demandées",
        "Por favor respóndeme en los próximos días, adjunto la información solicitada",
    ),
    "high": (
        "Urgent: it must be done at once or today, something is broken or will be lost or cancelled.",
        "Please call me immediately, the deadline is today; act now or your access will be blocked.",
        "Dringend: bitte sofort melden, die Frist läuft heute ab, sonst wird der Zugang gesperrt",
        "Urgent : merci d'agir immédiatement, le délai expire aujourd'hui, sinon le service sera coupé",
        "Urgente: responda de inmediato, el plazo vence hoy, o se cancelará el servicio",
    ),
}
