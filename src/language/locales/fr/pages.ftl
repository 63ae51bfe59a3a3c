# Web pages in French. See en/pages.ftl.

not-me-question = Ce n’était pas vous ?
# After a press that was too early or too late.
not-me-again =
    Rien n’a encore changé. Veuillez appuyer de nouveau sur le bouton : il fonctionne de deux secondes à une heure après
    l’ouverture de cette page, car les programmes qui vérifient les liens des messages appuient aussi sur les boutons.
not-me-what =
    Quelqu’un s’est inscrit sur { $service } avec votre adresse. Si c’était vous, fermez cette page : il ne s’est rien
    passé.
not-me-button-does =
    Si ce n’était pas vous, le bouton supprime cette inscription. Son code ne vaut alors plus rien, et vous recevez un
    ticket avec lequel vous pouvez inscrire votre adresse immédiatement. Si vous avez déjà un compte, il reste tel quel.
not-me-button = Supprimer l’inscription

not-me-deleted = L’inscription est supprimée
not-me-deleted-what = Son code ne vaut plus rien. Si vous ne voulez pas de compte, vous n’avez rien d’autre à faire.
not-me-ticket = Si vous voulez un compte, vous pouvez inscrire votre adresse immédiatement avec ce ticket :
not-me-ticket-how =
    Le ticket est valable une fois, pendant 15 minutes, dans l’en-tête { $header } du programme qui vous inscrit ; sans
    lui, votre adresse doit attendre comme les autres.

not-me-expired = Ce lien ne fonctionne plus
not-me-expired-what =
    Il fonctionne une seule fois, pendant 24 heures, et seulement tant que l’inscription attend son code. Rien n’a changé.
not-me-expired-newer =
    Si vous avez reçu un autre message après celui qui contient ce lien, utilisez le lien de ce message-là.

not-me-incomplete = Ce lien est incomplet
not-me-incomplete-what = Rouvrez le lien du message, ou copiez-le en entier, jusqu’à la dernière lettre.

not-me-failed = L’opération n’a pas pu être effectuée
not-me-failed-what =
    L’inscription existe peut-être encore. Attendez un instant, puis appuyez de nouveau sur le bouton.

problem-status = { $name }, avec le statut { $status }.
problem-operations = Toutes les opérations et leurs problèmes

address-change-question = Annuler le changement ?
address-change-what-page = Quelqu’un a demandé à changer l’adresse de votre compte { $service }. Si c’était vous, fermez cette page : rien ne s’est passé.
address-change-button-does = Si ce n’était pas vous, le bouton rend cette adresse au compte et invalide son mot de passe, car quelqu’un d’autre le connaît peut-être. Vous choisissez ensuite un nouveau mot de passe par e-mail.
address-change-restored = Votre compte a retrouvé cette adresse
address-change-restored-what = L’ancien mot de passe ne fonctionne plus. Demandez un code pour en choisir un nouveau, comme pour un mot de passe oublié. Choisissez-en un que vous n’utilisez nulle part ailleurs.
address-change-expired-what = Il fonctionne une fois, pendant 72 heures. Rien n’a changé.
address-change-taken = L’adresse appartient à un autre compte
address-change-taken-what = Quelqu’un a créé entre-temps un autre compte avec cette adresse ; le changement ne peut donc pas être annulé. Rien n’a changé.
address-change-failed-what = Rien n’a encore changé. Attendez un instant, puis appuyez de nouveau sur le bouton.
