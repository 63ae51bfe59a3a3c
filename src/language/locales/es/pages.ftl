# Web pages in Spanish. See en/pages.ftl.

not-me-question = ¿No fue usted?
# After a press that was too early or too late.
not-me-again =
    Todavía no ha cambiado nada. Pulse el botón otra vez: funciona desde dos segundos hasta una hora después de abrir esta
    página, porque los programas que comprueban los enlaces del correo también pulsan botones.
not-me-what =
    Alguien se ha registrado en { $service } con su dirección. Si fue usted, cierre esta página: no ha pasado nada.
not-me-button-does =
    Si no fue usted, el botón elimina ese registro. Su código deja entonces de servir, y usted recibe un tique con el que
    puede registrar su dirección de inmediato. Si ya tiene una cuenta, seguirá como está.
not-me-button = Eliminar el registro

not-me-deleted = El registro se ha eliminado
not-me-deleted-what = Su código ya no sirve. Si no quiere una cuenta, no tiene que hacer nada más.
not-me-ticket = Si quiere una cuenta, puede registrar su dirección de inmediato con este tique:
not-me-ticket-how =
    El tique sirve una vez, durante 15 minutos, en el encabezado { $header } de la petición del programa que le registra;
    sin él, su dirección debe esperar como todas.

not-me-expired = Este enlace ya no funciona
not-me-expired-what =
    Funciona una sola vez, durante un día, y solo mientras el registro espera su código. No ha cambiado nada.
not-me-expired-newer =
    Si recibió otro mensaje después del que contiene este enlace, use el enlace de ese mensaje.

not-me-incomplete = Este enlace está incompleto
not-me-incomplete-what = Vuelva a abrir el enlace del mensaje o cópielo entero, hasta la última letra.

not-me-failed = No se ha podido hacer en este momento
not-me-failed-what =
    Es posible que el registro siga existiendo. Espere un momento y pulse el botón otra vez.

problem-status = { $name }, con el estado { $status }.
problem-operations = Todas las operaciones y sus problemas

address-change-question = ¿Deshacer el cambio?
address-change-what-page = Alguien ha pedido cambiar la dirección de su cuenta de { $service }. Si fue usted, cierre esta página: no ha pasado nada.
address-change-button-does = Si no fue usted, el botón devuelve esta dirección a la cuenta y anula su contraseña, porque otra persona podría conocerla. Después establecerá una nueva contraseña por correo.
address-change-restored = Su cuenta vuelve a tener esta dirección
address-change-restored-what = La contraseña antigua ya no sirve. Pida un código para establecer una nueva, como si la hubiera olvidado. Elija una que no use en ningún otro sitio.
address-change-expired-what = Funciona una vez, durante 72 horas. No ha cambiado nada.
address-change-taken = La dirección pertenece a otra cuenta
address-change-taken-what = Entretanto alguien ha creado otra cuenta con esta dirección, así que no se puede deshacer el cambio. No ha cambiado nada.
address-change-failed-what = Todavía no ha cambiado nada. Espere un momento y vuelva a pulsar el botón.
