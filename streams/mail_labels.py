"""The categories of mail, each told in a few short descriptions, and how nearness to them becomes a score.

The model was trained on English; it knows other languages by the words they share with a description, so each category
is described in four. All categories have as many descriptions, so that none is near more often by their number alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DESCRIPTIONS: dict[str, tuple[str, ...]] = {
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
    "spam": (
        "Unwanted spam: a scam, lottery prize, miracle pills, or easy money, click now.",
        "Congratulations, you won! Claim your prize now, send your bank details, limited offer, 100% free",
        "Sie haben gewonnen! Millionen im Lotto, klicken Sie jetzt, Wundermittel ohne Rezept, schnelles Geld verdienen",
        "Vous avez gagné à la loterie ! Cliquez ici maintenant, argent facile, pilules miracle sans ordonnance",
        "¡Ha ganado la lotería! Haga clic ahora, dinero fácil, pastillas milagrosas sin receta",
    ),
}


TEMPERATURE = 0.05
"""Cosines between a mail and descriptions lie between 0 and 0.7, and a lead of 0.1 is a clear one: it becomes 7 to 1."""


class Near(Protocol):
    """What can say how near a text is to others."""

    def nearness(self, text: str, descriptions: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the cosine between `text` and each description, [descriptions]."""


def score(model: Near, text: str, labels: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return each label's share, the likeliest first; they sum to 1.

    A label is as near as the nearest of its descriptions; a softmax over the labels makes shares of that.
    """
    cosines = model.nearness(text, [description for descriptions in labels.values() for description in descriptions])
    ends = np.cumsum([len(descriptions) for descriptions in labels.values()])
    nearest = np.array([part.max() for part in np.split(cosines, ends[:-1])])
    weights = np.exp((nearest - nearest.max()) / TEMPERATURE)
    shares = zip(labels, (weights / weights.sum()).tolist(), strict=True)
    return dict(sorted(shares, key=lambda share: -share[1]))
